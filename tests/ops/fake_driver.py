"""Stands in for the CUDA driver's library: records calls, and fails where it is told to."""

import ctypes

from napari_rwkv_seg.ops._cuda_plan import Call


def target(pointer):
    """Return the object that `ctypes.byref` or a pointer refers to."""
    return pointer._obj


class FakeDriver:
    def __init__(self, failing="", code=1):
        self.calls, self.contexts, self.launches, self.kernels = [], [], [], []
        self._failing, self._code = failing, code

    def __getattr__(self, name):
        def function(*arguments):
            self.calls.append(name)
            if name == self._failing:
                return self._code
            act = getattr(type(self), f"_{name}", None)
            return (act(self, *arguments) if act else 0) or 0

        return function

    def _cuDevicePrimaryCtxRetain(self, context, device):  # noqa: N802
        target(context).value = 1000 + target_value(device)

    def _cuCtxPushCurrent_v2(self, context):  # noqa: N802
        self.contexts.append(target_value(context))

    def _cuCtxPopCurrent_v2(self, _):  # noqa: N802
        self.contexts.pop()

    def _cuDeviceGet(self, handle, number):  # noqa: N802
        target(handle).value = number

    def _cuModuleGetFunction(self, kernel, module, name):  # noqa: N802
        self.kernels.append(name.decode())
        target(kernel).value = len(self.kernels)

    def _cuLaunchKernel(self, kernel, *rest):  # noqa: N802
        *sizes, stream, arguments, extra = rest
        call = ctypes.cast(arguments[0], ctypes.POINTER(Call)).contents
        facts = {name: getattr(call, name) for name, _ in Call._fields_}
        name = self.kernels[target_value(kernel) - 1]
        self.launches.append((name, tuple(sizes), target_value(stream), facts, self.contexts[-1]))
        assert extra is None

    def _cuGetErrorString(self, code, text):  # noqa: N802
        target(text).value = {1: b"invalid argument", 2: b"out of memory"}[code]


def target_value(number):
    return getattr(number, "value", number)
