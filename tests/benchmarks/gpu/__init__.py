"""The parts of gpu_check: what must hold on a CUDA device, and how long it takes."""
