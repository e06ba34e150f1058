"""The regroup command in the place of torch.distributed.run: `python -m regroup.run [OPTIONS] SCRIPT …`.

This process becomes the command. Its workers run this interpreter, unless PYTHON_EXEC names another one.
"""
import sys

from regroup._command import become


def main(args=None):
    become(sys.argv[1:] if args is None else list(args))


if __name__ == "__main__":
    main()
