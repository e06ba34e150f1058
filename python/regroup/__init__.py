"""The Python side of regroup, with nothing but the standard library. It imports nothing by itself.

regroup.store   a client of the launcher's store, over shared memory
regroup.torch   the same as a torch.distributed.Store
regroup.rendezvous   the rendezvous of `torchrun --rdzv-backend=regroup`
regroup.run     the regroup command, in the place of torch.distributed.run
python -m regroup TOOL …   a tool that calls PyTorch's launcher in its own process, with regroup behind it
"""
