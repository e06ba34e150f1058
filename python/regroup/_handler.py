"""What torchrun finds by the entry point group `torchrun.handlers`: it loads all of them, whatever backend it's given."""


def handler():
    """A function that makes rendezvous handlers; the rest is imported by the first of them."""
    return create


def create(params):
    """A handler for these RendezvousParameters."""
    from regroup.rendezvous import RegroupRendezvous

    return RegroupRendezvous(params)
