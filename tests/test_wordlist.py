"""The check of words in `make lint`: what it reads of a file, and what it finds."""

import sys

import pytest
import wordlist

LIST = "# a comment\nanew → again\n/goes? on/ → continue\n"


def findings(text):
    return [found[0] for word in wordlist.read_words(LIST) for found in word.pattern.finditer(text)]


def test_whole_words_are_found_in_any_case_and_across_lines():
    assert findings("Anew it goes\n    on; renewed, undergoes on") == ["Anew", "goes\n    on"]


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("page.md", "anew\n```\nbegin anew\n```\n`anew` and ``made anew``\n", ["anew"]),
        ("code.py", 'anew = {"anew": 1}\n# made anew\nprint(f"made anew {anew}")\n"""made anew"""\n', ["anew"] * 3),
        (
            "code.js",
            'const anew = "anew";\n// made anew\n/** Made\n anew. */ let b = "made anew"; anew();\n',
            ["anew"] * 3,
        ),
        ("tests/test_it.py", 'text = "made anew"\n# made anew\ndef f():\n    """made anew"""\n', ["anew"] * 2),
    ],
)
def test_code_is_not_scanned(tmp_path, monkeypatch, name, content, texts):
    monkeypatch.setattr(wordlist, "ROOT", tmp_path)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    assert [text for passage in wordlist.passages(path) for text in findings(passage.text)] == texts


def test_a_finding_has_its_file_line_and_suggestion(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(wordlist, "ROOT", tmp_path)
    monkeypatch.setattr(wordlist, "WORDS", tmp_path / "words.txt")
    (tmp_path / "words.txt").write_text(LIST)
    (tmp_path / "page.md").write_text("one\nmade anew\n")
    monkeypatch.setattr(sys, "argv", ["wordlist", str(tmp_path / "page.md")])
    assert wordlist.main() == 1
    assert capsys.readouterr().out == "page.md:2: 'anew': write again\n"
