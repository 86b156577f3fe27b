"""What the folder of teachers promises; the laws that they share with students are in tests/test_networks.py."""

import inspect

import pytest

from edgeseg import networks, teachers
from edgeseg.errors import NetworkError

ROLES = ("teacher", "student")


def test_unknown_teacher_names_what_there_is():
    with pytest.raises(NetworkError, match="no teacher called 'unnet': did you mean 'unet'"):
        teachers.get("unnet")


def test_each_family_has_a_teacher_that_costs_more_than_any_student(costs):
    """HRNet-W18 and Segmenter-Tiny, the least of theirs, do not."""
    dearest = {role: {} for role in ROLES}
    for n in costs:
        family = inspect.getmodule(getattr(networks, f"{n.role}s").get(n.name))
        dearest[n.role][family] = max(n.macs, dearest[n.role].get(family, 0))
    assert min(dearest["teacher"].values()) > max(dearest["student"].values()), dearest
