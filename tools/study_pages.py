"""Write the pages of docs/exercises/ again from the numbers next to them, after a change of their text or of the arms.

Usage: python tools/study_pages.py

Nothing is trained. The page of a study whose catalogue entry has new arms states that they are not run yet.
"""

import json
from pathlib import Path

from mlpconv.arch.class_maps import last_map
from mlpconv.files import write_atomic
from mlpconv.studies import answers, pages, perform

DIRECTORY = Path(__file__).parents[1] / "docs" / "exercises"


def main() -> None:
    """Write the question, notes and conclusion of each study into its numbers, and its page."""
    for path in sorted(DIRECTORY.glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        study = perform.find(path.stem)
        result |= {"question": study.question, "about": study.about}
        if study.kind != "resources":
            for arm in result["arms"]:
                arm["last_map"] = last_map(perform.arm_network(result, arm))
        comparisons = answers.compare(result, study.pairs, perform.HEADLINE)
        result["conclusion"] = perform.conclusion(result, study, comparisons)
        planned = pages.not_run_yet(result, study)
        write_atomic(path, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        write_atomic(path.with_suffix(".md"), pages.markdown(result, result["command"], planned))


if __name__ == "__main__":
    main()
