"""Start the node, configure it and activate it.

ros2 launch edgeseg_ros segment.launch.py bundle:=/opt/bundle image:=/camera/image_raw
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare
from lifecycle_msgs.msg import Transition


def generate_launch_description():
    params = PathJoinSubstitution([FindPackageShare("edgeseg_ros"), "config", "params.yaml"])
    arguments = [
        DeclareLaunchArgument("bundle", description="path of the bundle"),
        DeclareLaunchArgument("image", default_value="image_raw", description="topic of the camera's frames"),
        DeclareLaunchArgument("namespace", default_value="", description="namespace of the node"),
        DeclareLaunchArgument("params", default_value=params, description="file of the other parameters"),
    ]
    node = LifecycleNode(
        package="edgeseg_ros",
        executable="edgeseg_ros",
        name="edgeseg_ros",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        parameters=[
            LaunchConfiguration("params"),
            {"bundle": ParameterValue(LaunchConfiguration("bundle"), value_type=str)},
        ],
        remappings=[("image", LaunchConfiguration("image"))],
    )

    def change(transition):
        return EmitEvent(event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition))

    # From configuring only: whoever deactivates the node later wants it inactive.
    activate = RegisterEventHandler(
        OnStateTransition(
            target_lifecycle_node=node,
            start_state="configuring",
            goal_state="inactive",
            entities=[change(Transition.TRANSITION_ACTIVATE)],
        )
    )
    return LaunchDescription([*arguments, activate, node, change(Transition.TRANSITION_CONFIGURE)])
