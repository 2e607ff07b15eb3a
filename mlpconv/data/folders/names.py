"""What the names of files and folders mean: a split, a class, or something that a system left behind."""

import re
import unicodedata

from mlpconv.errors import DataError
from mlpconv.formatting import printable

TRAIN, VALIDATION, TEST = "train", "validation", "test"

_WORDS = {
    TRAIN: """
        train training trains trn traning trainval learn learning lern lernen entrainement apprentissage entrenamiento
        entreno aprendizaje addestramento allenamento treino treinamento treinar aprendizado trening trenovaci
        treninkova traning egitim koulutus opetus latih pelatihan antrenare antrenament tanito huanluyen обучение
        обучающая обучающий обучающие тренировка тренировочная тренировочные трейн навчання тренування
        εκπαιδευση
        训练 訓練 学習 學習 训 トレーニング 学習用 훈련 학습 تدريب آموزش אימון प्रशिक्षण ฝึก huấnluyện
        """,
    VALIDATION: """
        val valid validate validation validating validations vali dev devel development eval evaluate evaluation
        evaluating validierung evaluierung auswertung validacion evaluacion convalida validazione valutazione validacao
        avaliacao validatie evaluatie walidacja validace validering evaluering dogrulama validointi validasi evaluasi
        validare валидация валидационная валидационные оценка валідація επικυρωση
        验证 驗證 校验 评估 評估 検証 バリデーション 評価 검증 평가 التحقق تحقق אימות सत्यापन
        """,
    TEST: """
        test tests testing tst holdout heldout prufung pruf prufen probe essai essais epreuve prueba pruebas prova prove
        verifica teste testes testowy testowe testovaci sinama testaus uji pengujian ujian teszt kiemthu
        тест тесты тестовая тестовый тестовые тестирование тестування δοκιμη
        测试 測試 试验 テスト 試験 테스트 시험 اختبار آزمون מבחן परीक्षण ทดสอบ
        """,
}
"""The words for each split in several languages, without accents, which are removed before the comparison."""

_FILLERS = """
    set sets data dataset datasets image images img imgs pic pics picture pictures photo photos foto fotos bild bilder
    daten datensatz satz menge datos donnees dati dados imagenes imagens imagem imagen immagini immagine seg split
    splits
    part folder dir directory file files sample samples example examples x raw orig original resized cropped final full
    jeu ensemble conjunto insieme set de d di do da du des del della les la le el of for the zum zur fur para pour per
    изображения изображение данные выборка набор картинки фото
    集 集合 数据 數據 数据集 数据集合 图像 图片 图 圖像 圖片 用 用データ データ データセット セット 画像 用画像
    세트 데이터 데이터셋 이미지 셋 용
    """
"""Words next to the name of a split that do not change its meaning."""


def _normalized(name: str) -> str:
    """A name without accents, in lower case, with a space where lower case changes to upper case."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    return "".join(c for c in unicodedata.normalize("NFD", spaced.casefold()) if not unicodedata.combining(c))


_SPLIT_OF = {_normalized(word): split for split, words in _WORDS.items() for word in words.split()}
_FILLER_WORDS = {_normalized(word) for word in _FILLERS.split()}
# Longest first, so that the whole of "dataset" is removed and not "set" alone.
_SUFFIXES = sorted((word for word in _FILLER_WORDS if len(word) > 2 or not word.isascii()), key=len, reverse=True)


def split_of(name: str, *, numbers: bool = True) -> str | None:
    """The split that the name of a folder, or a value in a list, means; None if it means none.

    The name may have other case, accents, numbers and words such as "set" or "images": "Training_Set", "seg_train" and
    "02 Testbilder" are splits.

    Args:
        name: The name.
        numbers: Whether the name may contain digits.
    """
    text = _normalized(name)
    if not numbers and any(c.isdigit() for c in text):
        return None
    words = re.findall(r"[^\W\d_]+", text)
    joined = "".join(words)
    if joined in _SPLIT_OF:  # "hold out"
        return _SPLIT_OF[joined]
    found = set()
    for word in words:
        if (split := _split_of_word(word)) is not None:
            found.add(split)
        elif word not in _FILLER_WORDS:
            return None
    return found.pop() if len(found) == 1 else None


def _split_of_word(word: str) -> str | None:
    """The split that one word means: "trainingsdaten" is "training" with a filler."""
    stems = [word]
    for _ in range(2):
        stems += [
            stem.removesuffix(suffix)
            for stem in stems[-2:]
            for suffix in _SUFFIXES
            if stem.endswith(suffix) and stem != suffix
        ][:1]
    for stem in stems:
        for candidate in (stem, stem.removesuffix("s"), stem.removesuffix("的"), stem.removesuffix("の")):
            if candidate in _SPLIT_OF:
                return _SPLIT_OF[candidate]
    return None


def is_filler(name: str) -> bool:
    """Whether a name says only that a folder holds images or data."""
    words = re.findall(r"[^\W\d_]+", _normalized(name))
    return bool(words) and all(word in _FILLER_WORDS for word in words)


_LEFTOVERS = {
    "@eadir", "@__thumb", "@recycle", "@recently-snapshot", "@sharebin", "@sharesnap", "@snapshot", "@tmp", "#recycle",
    "#snapshot", "$recycle.bin", "recycler", "recycled", "system volume information", "found.000", "lost+found",
    "__macosx", "__pycache__", "thumbs.db", "thumbs.db:encryptable", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini",
    "desktop db", "desktop df", "icon\r", "network trash folder", "temporary items", "thevolumesettingsfolder",
    "picasa.ini", "picasaoriginals", "zbthumbnail.info", "pspbrwse.jbf", "sync.ffs_db", "sync.ffs_lock", "iconcache.db",
    "ds_store",
}  # fmt: skip
"""Names, in lower case, of files and folders that systems, network drives and photo programs create."""


def is_leftover(name: str) -> bool:
    """Whether a file or folder was left by a system or is hidden, and so is never an image or a class."""
    return name.startswith((".", "~$")) or name.casefold() in _LEFTOVERS


def class_name(folder: str) -> str:
    """The name of a class from that of its folder, with unprintable characters escaped and accents composed."""
    return unicodedata.normalize("NFC", printable(folder))


class ClassNames:
    """The names of the classes of a folder or list. Different names that would become one class are refused.

    Splits may come from different systems, so an accent may be composed in one and decomposed in another.
    """

    def __init__(self, kind: str, remedy: str) -> None:
        """
        Args:
            kind: What is named: "folders" or "labels".
            remedy: What to do about two of them that would become one class.
        """
        self._kind, self._remedy = kind, remedy
        self._given: dict[str, dict[str, tuple[str, str]]] = {}
        """By class and place: the name that was given, and how it is shown."""

    def name(self, given: str, place: str, where: str, shown: str = "") -> str:
        """The class that the name of a folder, or a label, stands for.

        Args:
            given: The name.
            place: What must not contain another name of the same class: the parent folder, or the split.
            where: The folder or list, for errors.
            shown: The name for errors, such as its path; by default the name itself.

        Raises:
            DataError: Another name would become the same class.
        """
        name, shown = class_name(given), shown or given
        known = self._given.setdefault(name, {})
        for other_place, (other, other_shown) in known.items():
            same = unicodedata.normalize("NFC", other) == unicodedata.normalize("NFC", given)
            if other == given or (same and other_place != place):
                continue
            how = (
                "how Unicode stores their characters (composed or decomposed)"
                if same
                else "characters that cannot be printed, which are escaped in the name of a class"
            )
            raise DataError(
                f"{where}: the {self._kind} {other_shown!a} and {shown!a} would become one class, {name}: "
                f"they differ only in {how}; {self._remedy}"
            )
        known.setdefault(place, (given, shown))
        return name


def natural_order(name: str) -> tuple[tuple[tuple[int, float, str], ...], str]:
    """A sort key by which numbers in names sort by their value: -1, 0, 2, 10 and a2, a10."""
    if re.fullmatch(r"[+-]?\d+(\.\d+)?", name, re.ASCII):
        return ((0, float(name), ""),), name
    parts = re.split(r"(\d+)", name, flags=re.ASCII)
    return tuple(
        (0, float(part), "") if index % 2 else (1, 0.0, part) for index, part in enumerate(parts) if part
    ), name
