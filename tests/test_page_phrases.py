"""Pages translated by phrases: placeholders, lists, and texts that no phrase translates."""

import re
import tomllib

import page_phrases
import pytest
from languages import TRANSLATIONS
from page_phrases import MissingPhrases, Translator

ENTRIES = tomllib.loads(page_phrases.PHRASES.read_text(encoding="utf-8"))


@pytest.mark.parametrize("language", TRANSLATIONS, ids=lambda language: language.code)
def test_every_phrase_is_translated_with_its_placeholders(language):
    for english, translated in ENTRIES.items():
        names = sorted(re.findall(r"\{(\w+)(?::\w+)?\}", english))
        assert sorted(re.findall(r"\{(\w+)\}", translated[language.code])) == names, english


@pytest.fixture
def translator(tmp_path, monkeypatch):
    phrases = tmp_path / "phrases.toml"
    phrases.write_text(
        '[", "]\nzh = "、"\n["; "]\nzh = "；"\n'
        '["Title"]\nzh = "标题"\n["arm"]\nzh = "组"\n["a small arm"]\nzh = "小组"\n["{count} s"]\nzh = "{count} 秒"\n'
        '["{arm} beats {other}."]\nzh = "{arm} 胜过 {other}。"\n["found: {what:list}."]\nzh = "有：{what}。"\n'
        '["{what:sentence}; at {size}."]\nzh = "{size} 时：{what}"\n["versions: {all:kept}"]\nzh = "版本：{all}"\n'
        '["{number} × the time"]\nzh = "{number} 倍时间"\n["left: {what:parts}"]\nzh = "剩下：{what}"\n',
        encoding="utf-8",
    )
    monkeypatch.setattr(page_phrases, "PHRASES", phrases)
    return Translator("zh")


@pytest.mark.parametrize(
    ("english", "translated"),
    [
        ("# Title", "# 标题"),
        ("- one-step beats nin_28.", "- one-step 胜过 nin_28。"),
        ("found: 2 × the time, a small arm, 12 s.", "有：2 倍时间、小组、12 秒。"),
        ("left: a small arm; 1,024 s", "剩下：小组；1,024 秒"),
        ("- a beats b; at 1×1.", "- 1×1 时：a 胜过 b。"),
        ("*A small arm*", "*小组*"),
        ("![a small arm](a-b.png)", "![小组](a-b.png)"),
        ("| arm | 12 s, 3 s | 0.9 | 3.2 MiB |", "| 组 | 12 秒、3 秒 | 0.9 | 3.2 MiB |"),
        ("| --- | --- |", "| --- | --- |"),
        ("versions: python 3.11, numpy 2", "版本：python 3.11, numpy 2"),
        ("", ""),
    ],
)
def test_a_line(translator, english, translated):
    assert translator.page(english) == translated


def test_texts_without_a_phrase_are_named_once(translator):
    with pytest.raises(MissingPhrases) as raised:
        translator.page("# Title\n\n- a loses to b.\n- found: 2 s, three more.\n- a loses to b.\n")
    assert str(raised.value) == "a loses to b.\nthree more"
