"""Raises an exception with the given text, under @record."""
import sys

from torch.distributed.elastic.multiprocessing.errors import record


@record
def main():
    raise ValueError(sys.argv[1])


if __name__ == "__main__":
    main()
