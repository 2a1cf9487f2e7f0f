"""The daemon: `python run_live.py CONFIG [--check] [--live] [--set KEY=VALUE]`, the same as `onetape run`.

It reads one configuration, builds the run, trades it to its end and exits with the code that says how it ended.
"""

import sys

from engine.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
