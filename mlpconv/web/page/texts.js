/** The texts of the page in its languages, and numbers as these write them. */

const en = {
  language: "Language",
  title: "{name}: picture classifier",
  lead: "Classifies pictures as one of {classes} classes. Everything is computed on this device; nothing is sent anywhere.",
  add: "Pictures",
  choose: "Choose pictures",
  photograph: "Take a photo",
  draw: "Draw",
  hint: "You can also drop pictures anywhere on this page, or paste one.",
  examples: "Test images",
  example: "Test image of class {name}",
  clear: "Clear",
  padLabel: "Drawing area. Draw with a mouse, pen or finger.",
  drawing: "Drawing",
  pasted: "pasted picture",
  answer: "Answer",
  loading: "Preparing the network …",
  ready: "Ready. Choose a picture.",
  working: "Classifying {name} …",
  spoken: "{name}: {first}, {share}. Next: {others}.",
  spokenOne: "{name}: {first}, {share}.",
  classes: "Classes, most probable first",
  allClasses: "Show all {count} classes",
  logit: "logit {value}",
  minus: "Subtract the map of",
  minusNothing: "no class",
  invert: "Swap light and dark",
  seen: "What the network receives",
  seenLabel: "The picture as the network receives it: {width}×{height} pixels",
  inverted:
    "The background of this picture is {this}, that of the training images {training}. Try “Swap light and dark”.",
  light: "light",
  dark: "dark",
  mapLabel: "{picture} with the evidence for {name}: strongest at {x} % from the left and {y} % from the top",
  pictureLabel: "{picture}",
  mapRectified:
    "Red is evidence for {name}, blue evidence against it. The mean of the map, with negative values as 0, is the logit: {value}.",
  mapPlain: "Red is evidence for {name}, blue evidence against it. The mean of the map is the logit: {value}.",
  mapDifference:
    "Red favors {name}, blue favors {other}. The mean of this difference of two maps is the difference of the logits: {value}.",
  mapSum: "The probabilities are the softmax of the logits, so the maps of all classes are the complete explanation.",
  mapNone: "This network ends in fully connected layers, so it has no class maps.",
  mapSingle: "The class maps of this network have one position: they cannot show where the evidence is.",
  list: "All pictures",
  progress: "{done} of {all} pictures",
  csv: "Save as CSV",
  file: "Picture",
  result: "Class",
  probability: "Probability",
  more: "{count} more are in the CSV file.",
  about: "About this network",
  trained: "Trained on",
  trainedImages: "{name}: {count} images",
  trainedUnknown: "not recorded",
  accuracy: "Accuracy",
  accuracyOf: "{share} of {count} test images that were not used for training",
  accuracyUnknown: "not recorded",
  date: "Date",
  weights: "Weights",
  weightsOf:
    "{parameters} parameters in {type}; probabilities differ from those of the original by at most {difference}",
  input: "Input",
  inputOf: "{width}×{height} pixels, {color}",
  gray: "gray",
  rgb: "color",
  madeWith: "Made with mlpconv {version}",
  errors: "Where it errs",
  confused: "The most frequent mistakes on the test images",
  confusedNone: "It classified all test images correctly.",
  trueClass: "True class",
  predicted: "Classified as",
  images: "Images",
  ofClass: "Of the class",
  byClass: "Accuracy of each class",
  network: "The network",
  networkNote: "For one picture. A MAC is one multiplication and addition.",
  layer: "Layer",
  description: "Description",
  output: "Output",
  parameters: "Parameters",
  total: "Total",
  cannotRead: "{name}: this browser cannot read it as a picture. Save it as PNG or JPEG.",
  tooLarge: "{name}: has {count} pixels, more than the {limit} that are accepted. Make it smaller.",
  tooDeep:
    "{name}: has 16 bits per value, of which this network uses {bits}; browsers keep only 8. Save it with 8 bits.",
  failed: "The network cannot be computed here: {reason}.",
};

/** @typedef {keyof typeof en} TextName */
/** @typedef {Record<TextName, string>} Texts */

/** @type {Texts} */
const zh = {
  language: "语言",
  title: "{name}：图片分类器",
  lead: "把图片归入 {classes} 个类别之一。所有计算都在本设备上完成，不会上传任何数据。",
  add: "图片",
  choose: "选择图片",
  photograph: "拍照",
  draw: "手绘",
  hint: "也可以把图片拖放到页面任意位置，或直接粘贴。",
  examples: "测试图像",
  example: "类别“{name}”的测试图像",
  clear: "清除",
  padLabel: "绘图区。用鼠标、笔或手指绘制。",
  drawing: "手绘图",
  pasted: "粘贴的图片",
  answer: "结果",
  loading: "正在准备网络……",
  ready: "准备就绪，请选择图片。",
  working: "正在分类 {name}……",
  spoken: "{name}：{first}，{share}。其次：{others}。",
  spokenOne: "{name}：{first}，{share}。",
  classes: "类别，按概率从高到低",
  allClasses: "显示全部 {count} 个类别",
  logit: "logit {value}",
  minus: "减去此类别的响应图",
  minusNothing: "不减",
  invert: "反转明暗",
  seen: "网络接收的图像",
  seenLabel: "网络接收的图像：{width}×{height} 像素",
  inverted: "这张图片的背景是{this}的，而训练图像的背景是{training}的。请试试“反转明暗”。",
  light: "亮",
  dark: "暗",
  mapLabel: "{picture}，叠加了支持“{name}”的证据：最强处距左边 {x} %，距上边 {y} %",
  pictureLabel: "{picture}",
  mapRectified: "红色是支持“{name}”的证据，蓝色是反对的证据。把负值当作 0 后，响应图的平均值就是 logit：{value}。",
  mapPlain: "红色是支持“{name}”的证据，蓝色是反对的证据。响应图的平均值就是 logit：{value}。",
  mapDifference: "红色支持“{name}”，蓝色支持“{other}”。两张响应图之差的平均值就是两个 logit 之差：{value}。",
  mapSum: "概率是各个 logit 的 softmax，因此全部响应图就是完整的解释。",
  mapNone: "这个网络以全连接层结尾，因此没有响应图。",
  mapSingle: "这个网络的响应图只有一个位置，无法显示证据在哪里。",
  list: "全部图片",
  progress: "{done} / {all} 张图片",
  csv: "保存为 CSV",
  file: "图片",
  result: "类别",
  probability: "概率",
  more: "另有 {count} 张在 CSV 文件中。",
  about: "关于这个网络",
  trained: "训练数据",
  trainedImages: "{name}：{count} 张图像",
  trainedUnknown: "没有记录",
  accuracy: "精度",
  accuracyOf: "{share}，在 {count} 张未用于训练的测试图像上",
  accuracyUnknown: "没有记录",
  date: "日期",
  weights: "权重",
  weightsOf: "{parameters} 个参数，{type} 格式；概率与原网络最多相差 {difference}",
  input: "输入",
  inputOf: "{width}×{height} 像素，{color}",
  gray: "灰度",
  rgb: "彩色",
  madeWith: "由 mlpconv {version} 生成",
  errors: "常见错误",
  confused: "测试图像上最常见的错误",
  confusedNone: "全部测试图像都分类正确。",
  trueClass: "真实类别",
  predicted: "被分为",
  images: "图像数",
  ofClass: "占该类别",
  byClass: "各类别的精度",
  network: "网络",
  networkNote: "每张图片的数值。一次 MAC 是一次乘法加一次加法。",
  layer: "层",
  description: "说明",
  output: "输出",
  parameters: "参数",
  total: "合计",
  cannotRead: "{name}：浏览器无法将其作为图片读取。请另存为 PNG 或 JPEG。",
  tooLarge: "{name}：有 {count} 像素，超过上限 {limit}。请缩小图片。",
  tooDeep: "{name}：每个值有 16 位，此网络使用其中 {bits} 位，而浏览器只保留 8 位。请以 8 位保存。",
  failed: "无法在此计算网络：{reason}。",
};

/** @type {Texts} */
const ja = {
  language: "言語",
  title: "{name}：画像分類器",
  lead: "画像を {classes} 個のクラスのどれかに分類します。計算はすべてこの端末で行われ、データはどこにも送信されません。",
  add: "画像",
  choose: "画像を選ぶ",
  photograph: "写真を撮る",
  draw: "描く",
  hint: "このページのどこにでも画像をドロップでき、貼り付けることもできます。",
  examples: "テスト画像",
  example: "クラス「{name}」のテスト画像",
  clear: "消去",
  padLabel: "描画エリア。マウス、ペン、指で描きます。",
  drawing: "描いた絵",
  pasted: "貼り付けた画像",
  answer: "結果",
  loading: "ネットワークを準備しています…",
  ready: "準備ができました。画像を選んでください。",
  working: "{name} を分類しています…",
  spoken: "{name}：{first}、{share}。次点：{others}。",
  spokenOne: "{name}：{first}、{share}。",
  classes: "クラス（確率の高い順）",
  allClasses: "{count} クラスすべてを表示",
  logit: "ロジット {value}",
  minus: "差し引くクラスマップ",
  minusNothing: "なし",
  invert: "明暗を反転",
  seen: "ネットワークが受け取る画像",
  seenLabel: "ネットワークが受け取る画像：{width}×{height} ピクセル",
  inverted: "この画像の背景は{this}、学習画像の背景は{training}です。「明暗を反転」を試してください。",
  light: "明るい色",
  dark: "暗い色",
  mapLabel: "{picture} に「{name}」の根拠を重ねた図。最も強い場所は左から {x} %、上から {y} %",
  pictureLabel: "{picture}",
  mapRectified:
    "赤は「{name}」を支持する根拠、青は反対する根拠です。負の値を 0 としたマップの平均がロジットです：{value}。",
  mapPlain: "赤は「{name}」を支持する根拠、青は反対する根拠です。マップの平均がロジットです：{value}。",
  mapDifference: "赤は「{name}」を、青は「{other}」を支持します。2 つのマップの差の平均が、ロジットの差です：{value}。",
  mapSum: "確率はロジットのソフトマックスなので、全クラスのマップが完全な説明になります。",
  mapNone: "このネットワークは全結合層で終わるため、クラスマップがありません。",
  mapSingle: "このネットワークのクラスマップは 1 か所しかないため、根拠の場所を示せません。",
  list: "すべての画像",
  progress: "{all} 枚中 {done} 枚",
  csv: "CSV で保存",
  file: "画像",
  result: "クラス",
  probability: "確率",
  more: "残りの {count} 枚は CSV ファイルにあります。",
  about: "このネットワークについて",
  trained: "学習データ",
  trainedImages: "{name}：{count} 枚",
  trainedUnknown: "記録なし",
  accuracy: "精度",
  accuracyOf: "{share}（学習に使っていないテスト画像 {count} 枚）",
  accuracyUnknown: "記録なし",
  date: "日付",
  weights: "重み",
  weightsOf: "{parameters} 個のパラメータ（{type}）。確率の元のネットワークとの差は最大 {difference}",
  input: "入力",
  inputOf: "{width}×{height} ピクセル、{color}",
  gray: "グレースケール",
  rgb: "カラー",
  madeWith: "mlpconv {version} で作成",
  errors: "誤りの傾向",
  confused: "テスト画像で最も多い誤り",
  confusedNone: "すべてのテスト画像を正しく分類しました。",
  trueClass: "正解クラス",
  predicted: "分類結果",
  images: "枚数",
  ofClass: "クラス内の割合",
  byClass: "クラスごとの精度",
  network: "ネットワーク",
  networkNote: "画像 1 枚あたりの値です。MAC は乗算と加算 1 回ずつです。",
  layer: "層",
  description: "説明",
  output: "出力",
  parameters: "パラメータ",
  total: "合計",
  cannotRead: "{name}：このブラウザでは画像として読めません。PNG か JPEG で保存してください。",
  tooLarge: "{name}：{count} ピクセルあり、上限の {limit} を超えています。縮小してください。",
  tooDeep:
    "{name}：値が 16 ビットで、このネットワークはそのうち {bits} ビットを使いますが、ブラウザは 8 ビットしか保持しません。8 ビットで保存してください。",
  failed: "ここではネットワークを計算できません：{reason}。",
};

/** @type {Record<string, {name: string, texts: Texts}>} */
export const LANGUAGES = {
  en: { name: "English", texts: en },
  zh: { name: "中文", texts: zh },
  ja: { name: "日本語", texts: ja },
};

let current = "en";

/** The code of the language in use. */
export function language() {
  return current;
}

/** @param {string} code */
export function setLanguage(code) {
  current = code in LANGUAGES ? code : "en";
}

/**
 * The first of a reader's languages that the page has; else English.
 * @param {readonly string[]} wanted Such as navigator.languages.
 */
export function preferred(wanted) {
  return wanted.map((code) => code.split("-")[0].toLowerCase()).find((code) => Object.hasOwn(LANGUAGES, code)) ?? "en";
}

/**
 * A text in the language in use.
 * @param {TextName} name
 * @param {Record<string, string | number>} [values] What replaces {names} in the text.
 */
export function text(name, values = {}) {
  return LANGUAGES[current].texts[name].replace(/\{(\w+)\}/g, (whole, key) =>
    Object.hasOwn(values, key) ? String(values[key]) : whole,
  );
}

/** @param {number} value A share, from 0 to 1. */
export function percent(value) {
  return new Intl.NumberFormat(current, {
    style: "percent",
    minimumFractionDigits: 1,
    maximumFractionDigits: 1,
  }).format(value);
}

/** @param {number} value */
export function integer(value) {
  return new Intl.NumberFormat(current).format(value);
}

/** @param {number} value */
export function decimal(value) {
  return new Intl.NumberFormat(current, { minimumFractionDigits: 2, maximumFractionDigits: 2 }).format(value);
}
