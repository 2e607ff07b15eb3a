"""Record what the tests of this folder compare with: `python tests/golden/record.py networks`.

To be run only where a change of behaviour is meant; the changed fixtures are then part of the same commit.
"""

import argparse
import sys

import recorded


def networks() -> None:
    """Identity and costs of every registered network."""
    import mlpconv

    recorded.write(recorded.NETWORKS, {name: recorded.network(name) for name in mlpconv.list_models()})


PARTS = {each.__name__: each for each in (networks,)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="+", choices=PARTS)
    for part in parser.parse_args().part:
        PARTS[part]()


if __name__ == "__main__":
    sys.exit(main())
