"""What the paper printed (Tan & Le, arXiv 1905.11946v5), all of it on ImageNet. Accuracies in percent."""

import dataclasses

SOURCE = "Tan & Le, arXiv 1905.11946v5"


@dataclasses.dataclass(frozen=True)
class Cost:
    """One row of a table with costs; the paper's "FLOPs" are multiply-adds.

    Attributes:
      top1: accuracy (%).
      giga_macs: multiply-adds of one image in billions.
      mega_parameters: in millions; None where the table does not say.
    """

    top1: float
    giga_macs: float
    mega_parameters: float | None


# Table 2: by model of the catalog.
FAMILY = {
    "efficientnet_b0": Cost(77.1, 0.39, 5.3),
    "efficientnet_b1": Cost(79.1, 0.70, 7.8),
    "efficientnet_b2": Cost(80.1, 1.0, 9.2),
    "efficientnet_b3": Cost(81.6, 1.8, 12.0),
    "efficientnet_b4": Cost(82.9, 4.2, 19.0),
    "efficientnet_b5": Cost(83.6, 9.9, 30.0),
    "efficientnet_b6": Cost(84.0, 19.0, 43.0),
    "efficientnet_b7": Cost(84.3, 37.0, 66.0),
    "resnet50": Cost(76.0, 4.1, 26.0),
    "resnet152": Cost(77.8, 11.0, 60.0),
}  # DenseNet-201 stands in its figures only

# Table 7 and Figure 8: by axis.
SINGLE_AXIS = {
    "baseline": Cost(77.3, 0.4, None),
    "depth": Cost(79.0, 1.8, None),
    "width": Cost(78.9, 1.8, None),
    "resolution": Cost(79.1, 1.9, None),
    "compound": Cost(81.1, 1.8, None),
}
# and the multipliers these rows stand for: depth, width, resolution.
SINGLE_AXIS_SCALES = {
    "baseline": (1.0, 1.0, 1.0),
    "depth": (4.0, 1.0, 1.0),
    "width": (1.0, 2.0, 1.0),
    "resolution": (1.0, 1.0, 2.0),
    "compound": (1.4, 1.2, 1.3),
}

# Table 8: top-1 and top-5 of validation, top-1 and top-5 of test.
VALIDATION_AND_TEST = {
    "efficientnet_b0": (77.11, 93.35, 77.23, 93.45),
    "efficientnet_b1": (79.13, 94.47, 79.17, 94.43),
    "efficientnet_b2": (80.07, 94.90, 80.16, 94.98),
    "efficientnet_b3": (81.59, 95.67, 81.72, 95.70),
    "efficientnet_b4": (82.89, 96.37, 82.94, 96.27),
    "efficientnet_b5": (83.60, 96.71, 83.69, 96.64),
    "efficientnet_b6": (83.95, 96.76, 84.04, 96.86),
    "efficientnet_b7": (84.26, 96.97, 84.33, 96.94),
}
