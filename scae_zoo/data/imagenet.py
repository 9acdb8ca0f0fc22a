"""The two parts of ImageNet 2012 that the paper's Table 5 pre-trains on, by WordNet id."""

from timm.data import ImageNetInfo

# positions in the order of WordNet ids
_BIRDS = (*range(7, 25), *range(80, 101), *range(127, 147))
_MAMMALS = (*range(101, 107), *range(147, 151), *range(151, 300), *range(330, 389))
_CONVEYANCES = (
    403, 404, 405, 407, 408, 417, 428, 436, 444, 450, 466, 468, 472, 484, 510, 511, 537, 547, 554, 555, 561, 565, 569,
    573, 575, 576, 586, 595, 603, 609, 612, 625, 627, 628, 654, 656, 661, 665, 670, 671, 675, 690, 705, 717, 724, 734,
    751, 757, 779, 780, 791, 802, 803, 812, 814, 817, 820, 829, 830, 833, 847, 856, 864, 866, 867, 870, 871, 874, 880,
    895, 914)


def _ids(positions: tuple[int, ...]) -> tuple[str, ...]:
    names = ImageNetInfo().label_names()
    return tuple(names[i] for i in positions)


ANIMALS = _ids(_BIRDS + _MAMMALS)  # "mammal" and "bird"
VEHICLES = _ids(_CONVEYANCES)  # "conveyance, transport"
