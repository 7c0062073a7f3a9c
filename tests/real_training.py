"""Real training steps: what hooks, storages and the allocator say of them."""

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile
from torch.utils._pytree import tree_leaves


def saved_bytes(model, *inputs):
    """Bytes of distinct storages saved for backward that are no parameter and no buffer."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    seen, held = {}, []

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr() or id(storage)] = storage.nbytes()
            held.append(storage)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = model(*inputs)
    del outputs
    return sum(seen.values())


def step(model, optimizer, *inputs):
    """The step whose peak `training` gives."""
    optimizer.zero_grad()
    outputs = [out for out in tree_leaves(model(*inputs)) if out.requires_grad]
    torch.autograd.backward(outputs, [torch.ones_like(out) for out in outputs])
    optimizer.step()


def state_bytes(optimizer):
    """Bytes of what an optimiser keeps."""
    values = (value for held in optimizer.state.values() for value in tree_leaves(held))
    return sum(v.untyped_storage().nbytes() for v in values if isinstance(v, torch.Tensor))


def allocated_peak(model, optimizer, *inputs):
    """The most bytes that PyTorch's CPU allocator has given out in a second step."""
    step(model, optimizer, *inputs)
    optimizer.zero_grad()
    tensors = (*model.parameters(), *model.buffers(), *inputs)
    sizes = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step(model, optimizer, *inputs)
    now = most = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return sum(sizes.values()) + state_bytes(optimizer) + most


def allocated_peak_on_gpu(model, optimizer, *inputs):
    """The most bytes that PyTorch's CUDA allocator holds for tensors during a second step."""
    step(model, optimizer, *inputs)
    optimizer.zero_grad()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    step(model, optimizer, *inputs)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()
