"""Write the pages of docs/exercises/ again from the numbers next to them, in every language.

Usage: python tools/study_pages.py [--figures]

To be used after a study, and after a change of texts or arms. Nothing is trained. The page of a study whose catalogue
entry has new arms states that they are not run yet. Translations are made of the phrases in
docs/exercises/phrases.toml; texts that it lacks are printed, and the exit code is then 1. --figures draws the figures
again, too.
"""

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from languages import LANGUAGES, Language, path, with_links  # noqa: E402
from page_phrases import MissingPhrases, Translator  # noqa: E402

from mlpconv.arch.class_maps import last_map  # noqa: E402
from mlpconv.drawing.plots import png  # noqa: E402
from mlpconv.files import write_atomic  # noqa: E402
from mlpconv.studies import figures, pages, perform  # noqa: E402

DIRECTORY = ROOT / "docs" / "exercises"
_translator = cache(Translator)


def refresh(result: dict[str, Any]) -> None:
    """Write the present question, notes and conclusion of a study into its result."""
    study = perform.find(result["study"])
    if study.kind != "resources":
        for arm in result["arms"]:
            arm["last_map"] = last_map(perform.arm_network(result, arm))
    perform.conclude(result, study)


def page(result: dict[str, Any], language: Language) -> str:
    """The page of a result in a language.

    Raises:
        MissingPhrases: Texts of the page are not translated.
    """
    planned = pages.not_run_yet(result, perform.find(result["study"]))
    text = pages.markdown(result, result["command"], planned)
    if language != LANGUAGES[0]:
        text = _translator(language.code).page(text)
    return with_links(text, f"{result['study']}.md", language)


def main() -> int:
    """Write all pages; return the exit code."""
    missing = False
    for numbers in sorted(DIRECTORY.glob("*.json")):
        result = json.loads(numbers.read_text(encoding="utf-8"))
        refresh(result)
        write_atomic(numbers, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        if "--figures" in sys.argv[1:]:
            write_atomic(numbers.with_suffix(".png"), png(figures.figure(result)))
        for language in LANGUAGES:
            place = DIRECTORY / path(f"{result['study']}.md", language)
            try:
                write_atomic(place, page(result, language))
            except MissingPhrases as error:
                print(f"{place.name}: docs/exercises/phrases.toml lacks:\n{error}", file=sys.stderr)
                missing = True
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
