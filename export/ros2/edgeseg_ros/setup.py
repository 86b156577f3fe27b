"""The ROS 2 package, as ament_python builds it."""

from setuptools import setup

NAME = "edgeseg_ros"

setup(
    name=NAME,
    version="0.1.0",
    packages=[NAME],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", ["launch/segment.launch.py"]),
        (f"share/{NAME}/config", ["config/params.yaml"]),
    ],
    install_requires=["setuptools"],  # edgeseg and its engine: see README.md
    zip_safe=True,
    maintainer="edgeseg maintainers",
    maintainer_email="maintainers@edgeseg.example",
    description="Semantic segmentation of a camera topic with an edgeseg bundle, as a lifecycle node.",
    license="Apache-2.0",
    entry_points={"console_scripts": [f"{NAME} = {NAME}.node:main"]},
)
