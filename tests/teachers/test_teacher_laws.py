"""What the folder of teachers promises; the laws that they share with students are in tests/test_networks.py."""

import pytest

from edgeseg import networks, teachers
from edgeseg.errors import NetworkError

ROLES = ("teacher", "student")


def test_unknown_teacher_names_what_there_is():
    with pytest.raises(NetworkError, match="no teacher called 'unnet': did you mean 'unet'"):
        teachers.get("unnet")


def test_a_teacher_costs_more_than_any_student():
    found = list(networks.summaries(19, (256, 512)))
    macs = {role: {n.name: n.macs for n in found if n.role == role} for role in ROLES}
    cheapest, dearest = min(macs["teacher"].values()), max(macs["student"].values())
    assert cheapest > dearest, macs
