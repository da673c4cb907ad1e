"""The programs: one module a command, called by scripts/, by `python -m effnet_jax` and, installed, by `effnet-jax`.

Each has a docstring, which begins its help, options, a `main` and a `PROGRAM`. A process imports one of them: options
are the process's.
"""

# As help lists them: everyday ones first.
NAMES = (
    "train",
    "evaluate",
    "predict",
    "cam",
    "summarize",
    "prepare_data",
    "import_weights",
    "export_weights",
    "export",
    "grid_search",
    "scaling_study",
    "report",
    "benchmark",
    "results",
    "batch_norm_statistics",
    "gpu_pack",
)
