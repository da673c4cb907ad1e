"""Makes nested.pth (zip archive) and stream.pth (the format before PyTorch 1.6); needs torch.

python tests/pretrained/data/make.py
"""

import pathlib

import torch

FOLDER = pathlib.Path(__file__).parent
tensors = {
    "module.transposed": torch.arange(12, dtype=torch.float32).reshape(3, 4).t(),
    "module.parameter": torch.nn.Parameter(torch.tensor([0.5, -2.0], dtype=torch.bfloat16)),
    "module.half": torch.tensor([1.5], dtype=torch.float16),
    "module.view": torch.arange(10, dtype=torch.float64)[3:7],
    "module.count": torch.tensor(7),
}
torch.save({"state_dict": tensors, "epoch": 3, "name": "b0"}, FOLDER / "nested.pth")
torch.save(tensors, FOLDER / "stream.pth", _use_new_zipfile_serialization=False)
