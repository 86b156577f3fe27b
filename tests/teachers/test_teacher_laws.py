"""What the folder of teachers promises; the laws that they share with students are in tests/test_networks.py."""

import pytest

from edgeseg import networks, students, teachers
from edgeseg.errors import NetworkError


def test_unknown_teacher_names_what_there_is():
    with pytest.raises(NetworkError, match="no teacher called 'unnet': did you mean 'unet'"):
        teachers.get("unnet")


@pytest.mark.parametrize("name", teachers.names())
def test_a_teacher_costs_more_than_any_student(name):
    teacher = networks.macs(teachers.get(name)(19), (256, 512))
    assert all(teacher > networks.macs(students.get(s)(19), (256, 512)) for s in students.names())
