"""For each property of `process`, and each of `linux` that is about it, the test that shows it.

Held against the schema, so that no property can be added that nobody looks at.
"""

from __future__ import annotations

from support.documents import REPOSITORY, SCHEMAS, leaves, read

IDENTITY = "tests/system/test_process_identity.py"
SCHEDULING = "tests/system/test_process_scheduling.py"
NAMESPACES = "tests/system/test_process_namespaces.py"
NET_DEVICES = "tests/system/test_net_devices.py"
APPARMOR = "tests/system/test_apparmor.py"
SELINUX = "tests/system/test_selinux.py"
RESCTRL = "tests/unit/test_cgroup_resctrl.py"
CONFORMANCE = "conformance/process.py"

SHOWN = {
    "/process/terminal": (CONFORMANCE, "terminal_is_the_three_streams"),
    "/process/consoleSize/height": (CONFORMANCE, "terminal_has_the_console_size"),
    "/process/consoleSize/width": (CONFORMANCE, "terminal_has_the_console_size"),
    "/process/cwd": (CONFORMANCE, "cwd_is_the_working_directory"),
    "/process/env/[]": (CONFORMANCE, "env_is_the_environment"),
    "/process/args/[]": (CONFORMANCE, "args_are_the_argv"),
    "/process/user/uid": (IDENTITY, "test_user"),
    "/process/user/gid": (IDENTITY, "test_user"),
    "/process/user/additionalGids/[]": (IDENTITY, "test_user"),
    "/process/user/umask": (IDENTITY, "test_user"),
    "/process/capabilities/bounding/[]": (IDENTITY, "test_capabilities"),
    "/process/capabilities/effective/[]": (IDENTITY, "test_capabilities"),
    "/process/capabilities/inheritable/[]": (IDENTITY, "test_capabilities"),
    "/process/capabilities/permitted/[]": (IDENTITY, "test_capabilities"),
    "/process/capabilities/ambient/[]": (IDENTITY, "test_capabilities"),
    "/process/noNewPrivileges": (IDENTITY, "test_no_new_privileges"),
    "/process/rlimits/[]/type": (IDENTITY, "test_rlimits"),
    "/process/rlimits/[]/soft": (IDENTITY, "test_rlimits"),
    "/process/rlimits/[]/hard": (IDENTITY, "test_rlimits"),
    "/process/oomScoreAdj": (IDENTITY, "test_oom_score_adj"),
    "/process/apparmorProfile": (APPARMOR, "test_the_program_is_confined_by_its_profile"),
    "/process/selinuxLabel": (SELINUX, "test_the_program_has_its_label"),
    "/process/scheduler/policy": (SCHEDULING, "test_scheduler"),
    "/process/scheduler/nice": (SCHEDULING, "test_scheduler"),
    "/process/scheduler/priority": (SCHEDULING, "test_scheduler"),
    "/process/scheduler/runtime": (SCHEDULING, "test_deadline_scheduler"),
    "/process/scheduler/deadline": (SCHEDULING, "test_deadline_scheduler"),
    "/process/scheduler/period": (SCHEDULING, "test_deadline_scheduler"),
    "/process/scheduler/flags/[]": (SCHEDULING, "test_scheduler_flags"),
    "/process/ioPriority/class": (SCHEDULING, "test_io_priority"),
    "/process/ioPriority/priority": (SCHEDULING, "test_io_priority"),
    "/process/execCPUAffinity/initial": (
        "tests/unit/test_plan.py",
        "test_the_affinity_of_exec_is_not_the_first_process_s",
    ),
    "/process/execCPUAffinity/final": (SCHEDULING, "test_exec_affinity"),
    "/linux/memoryPolicy/mode": (SCHEDULING, "test_memory_policy"),
    "/linux/memoryPolicy/nodes": (SCHEDULING, "test_memory_policy"),
    "/linux/memoryPolicy/flags/[]": (SCHEDULING, "test_memory_policy"),
    "/linux/personality/domain": (SCHEDULING, "test_personality"),
    "/linux/personality/flags/[]": ("tests/unit/test_rules.py", "test_broken"),
    "/linux/namespaces/[]/type": (NAMESPACES, "test_every_namespace_is_new"),
    "/linux/namespaces/[]/path": (NAMESPACES, "test_every_namespace_is_joined_by_its_path"),
    **{
        f"/linux/{kind}Mappings/[]/{part}": (IDENTITY, "test_mappings")
        for kind in ("uid", "gid")
        for part in ("containerID", "hostID", "size")
    },
    **{
        f"/linux/timeOffsets/{clock}/{part}": (NAMESPACES, "test_time_offsets")
        for clock in ("boottime", "monotonic")
        for part in ("secs", "nanosecs")
    },
    "/linux/sysctl/*": (NAMESPACES, "test_sysctls"),
    "/linux/netDevices/*/name": (NET_DEVICES, "test_a_device_is_moved_renamed_and_up_with_its_addresses"),
    "/linux/intelRdt/closID": (RESCTRL, "test_a_group_that_is_there_is_shared_and_stays"),
    "/linux/intelRdt/schemata/[]": (RESCTRL, "test_what_it_may_use_is_written"),
    "/linux/intelRdt/l3CacheSchema": (RESCTRL, "test_what_it_may_use_is_written"),
    "/linux/intelRdt/memBwSchema": (RESCTRL, "test_what_it_may_use_is_written"),
    "/linux/intelRdt/enableMonitoring": (RESCTRL, "test_monitoring_has_a_group_of_its_own"),
    "/linux/intelRdt/enableCMT": (RESCTRL, "test_what_the_processor_does_not_monitor_is_told_of"),
    "/linux/intelRdt/enableMBM": (RESCTRL, "test_what_the_processor_does_not_monitor_is_told_of"),
}
NOT_LINUX = {"/process/commandLine", "/process/user/username"}
OTHER_SUBJECTS = {
    *("cgroupsPath", "devices", "maskedPaths", "mountLabel", "readonlyPaths", "resources"),
    *("rootfsPropagation", "seccomp"),
}


def test_every_property_of_the_schema_is_in_the_table() -> None:
    schema = read(SCHEMAS / "config-schema.json")
    process = set(leaves(schema["properties"]["process"], schema, "/process"))
    linux = set(leaves(schema["properties"]["linux"], schema, "/linux"))
    about_it = {path for path in linux if path.split("/")[2] not in OTHER_SUBJECTS}
    assert process | about_it == SHOWN.keys() | NOT_LINUX


def test_every_test_in_the_table_exists() -> None:
    for path, name in set(SHOWN.values()):
        assert f"def {name}(" in (REPOSITORY / path).read_text(), f"{path} has no {name}"
