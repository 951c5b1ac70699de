"""What users of runtimes complain about in their cgroups, and for each complaint the tests that it isn't so.

The numbers are those of the project's list of complaints, with threads of runc, crun, youki, containerd.
"""

from __future__ import annotations

import pytest

from support.documents import REPOSITORY

BUS = "tests/unit/test_systemd_bus.py"


def system(name: str) -> str:
    return f"tests/system/test_{name}.py"


PAINS = {
    "2: a memory limit that is too small gives an obscure error": [
        (system("footprint"), "test_one_mebibyte_is_enough"),
        (system("footprint"), "test_too_little_to_start_in_is_told_with_both_figures"),
        (system("footprint"), "test_a_set_up_that_could_only_wait_for_memory"),
    ],
    "3: exec and run hang in a frozen cgroup": [
        (system("freezing"), "test_exec_in_a_paused_container_is_refused_with_the_way_out"),
        (system("freezing"), "test_exec_in_a_cgroup_that_the_container_froze_is_refused_with_its_path"),
        (system("freezing"), "test_exec_in_a_container_frozen_from_above_is_refused_with_that_path"),
        (system("freezing"), "test_a_cgroup_that_is_frozen_takes_no_new_container"),
        (system("exec_properties"), "test_ignore_paused"),
    ],
    "4: kill and delete never end where something is frozen": [
        (system("freezing"), "test_a_killed_container_ends_although_it_is_paused"),
        (system("freezing"), "test_kill_all_reaches_what_is_frozen"),
        (system("cycles"), "test_nothing_is_left_however_often"),
    ],
    "5: cgroups are left behind": [
        (system("cycles"), "test_nothing_is_left_however_often"),
        (system("cycles"), "test_nothing_is_left_to_systemd"),
        (system("cgroup"), "test_groups_that_the_container_made_are_removed"),
        (system("resource_behaviour"), "test_everything_that_is_left_is_killed_with_the_container"),
    ],
    "6: the state is gone and the processes live, and the reverse": [
        (system("remains"), "test_delete_works_from_the_cgroup_alone"),
        (system("remains"), "test_gc_finds_it"),
        (system("remains"), "test_gc_removes_interrupted_creations_but_no_beginning_one"),
    ],
    "10: systemd is slow, restarts or goes away, and nobody is told": [
        (BUS, "test_a_job_is_done_when_systemd_says_so_of_it"),
        (BUS, "test_a_time_out_names_unit_and_job"),
        (BUS, "test_a_systemd_that_goes_away_is_said_to_have"),
    ],
    "11: interactive authentication required": [
        (BUS, "test_without_a_manager_the_remedy_that_applies_is_named"),
    ],
    "12: devices vanish at a daemon-reload": [
        (system("systemd"), "test_device_rules_survive_a_reload"),
        (system("systemd"), "test_updated_device_rules_survive_a_reload"),
        (system("systemd"), "test_limits_survive_a_reload"),
        (system("systemd"), "test_limits_that_are_no_properties_survive_a_reload"),
    ],
    "22: the caller's CPU affinity is inherited, and large machines are cut off": [
        (system("process_scheduling"), "test_an_inherited_affinity_is_reset"),
        (system("process_scheduling"), "test_a_caller_pinned_outside_the_cpuset_doesnt_matter"),
        (system("process_scheduling"), "test_exec_affinity_to_more_cpus_than_the_c_library_counts"),
    ],
    "23: an update of memory and swap does something else than was meant": [
        (system("update"), "test_flags_do_what_runcs_and_cruns_do"),
        (system("update"), "test_a_file_and_what_isnt_given_stays"),
        (system("update_taken_back"), "test_what_was_changed_is_put_back_when_something_is_refused"),
        (system("update"), "test_every_change_is_told_when_debugging"),
        (system("limits_compared"), "test_every_control_file_has_the_same_value_or_a_reason"),
    ],
    "24: exec says EBUSY once the container has enabled controllers": [
        (system("delegation"), "test_exec_works_where_the_container_has_enabled_controllers"),
        (
            system("cgroup_v2"),
            "test_where_the_container_made_controllers_its_own_exec_goes_to_its_first_process",
        ),
    ],
}  # fmt: skip


@pytest.mark.parametrize("pain", PAINS)
def test_every_test_in_the_table_exists(pain: str) -> None:
    for path, name in PAINS[pain]:
        assert f"def {name}(" in (REPOSITORY / path).read_text(), f"{path} has no {name}"
