"""The executor makes a container, step by step: what the program in it finds."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
from pathlib import Path

import pytest

import executor_driver as driver
from executor_driver import (
    ATTR_RDONLY,
    CLONE_NEWCGROUP,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    Step,
    begin,
    devices,
    failure_of,
    finish,
    make_rootfs,
    output_of,
    proc,
    shell,
    step,
)
from support.containers import open_to_everyone


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    return make_rootfs(tmp_path / "rootfs")


@pytest.fixture(params=["static", "sanitised"], autouse=True)
def binary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    built = driver.build("sanitised" if request.param == "sanitised" else "")
    monkeypatch.setattr(driver, "build", lambda: built)


def test_a_program_runs_in_new_namespaces(rootfs: Path) -> None:
    script = "echo $$; ls /proc | grep '^[0-9]*$'; ls -l /proc/self/ns"
    output = shell(rootfs, script).splitlines()
    assert output[0] == "1"
    assert "1" in output[1:4]
    for kind in ("mnt", "pid", "ipc", "uts", "net"):
        ours = os.readlink(f"/proc/self/ns/{kind}")
        assert not any(ours in line for line in output)


def test_the_stage_tells_of_the_process_before_the_process_does(rootfs: Path) -> None:
    for _ in range(50):
        with driver.running([step("clone", flags=CLONE_NEWPID), step("wait_runtime", reason="")]) as run:
            report = run.receive()
            assert report and report.kind == driver.CLONED and report.descriptor >= 0
            run.pidfds.append(report.descriptor)
            assert run.process.wait(10) == 0
            assert run.expect(driver.WAITING)


def test_the_process_dies_with_the_runtime(rootfs: Path) -> None:
    """The clone watches the runtime, not the stage that has ended."""
    steps = [step("clone", flags=0), step("die_with_parent", signal=9), step("wait_runtime", reason="")]
    with driver.running(steps) as run:
        run.expect(driver.WAITING)
        assert run.process.wait(10) == 0
        status = Path(f"/proc/self/fdinfo/{run.pidfds[0]}").read_text()
        pid = int(status.split("Pid:")[1].split()[0])
        assert int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == os.getpid()


def test_names_and_loopback(rootfs: Path) -> None:
    steps = [
        step("new_session"),
        step("hostname", name="box"),
        step("domainname", name="example"),
        step("loopback_up"),
    ]
    script = "hostname; cat /proc/sys/kernel/domainname; cat /sys/class/net/lo/flags"
    (rootfs / "bin/hostname").symlink_to("busybox")
    sysfs = step("mount_filesystem", type="sysfs", source="sysfs", target="/sys", attrs=ATTR_RDONLY)
    assert shell(rootfs, script, *steps, sysfs).split() == ["box", "example", "0x9"]


# ------------------------------------------------------------------- sysctl, labels, keyring


def test_sysctl(rootfs: Path) -> None:
    steps = [
        step("sysctl", path="net/ipv4/ip_local_port_range", value="20000 30000"),
        step("sysctl", path="net/ipv4/ip_local_port_range", value="20000 30000"),
        step("sysctl", path="kernel/shm_rmid_forced", value="1"),
    ]
    files = "/proc/sys/net/ipv4/ip_local_port_range", "/proc/sys/kernel/shm_rmid_forced"
    assert shell(rootfs, "cat " + " ".join(files), *steps).split() == ["20000", "30000", "1"]


def test_a_sysctl_that_is_so_already_isnt_written(rootfs: Path) -> None:
    """Even one that can't be."""
    (value,) = Path("/proc/sys/kernel/ostype").read_text().split()
    same, other = (step("sysctl", path="kernel/ostype", value=text) for text in (value, "Plan 9"))
    assert shell(rootfs, "true", same) == ""
    assert failure_of([*begin(rootfs), other])[:2] == ("sysctl", "EACCES")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("../sysrq-trigger", "EXDEV"),
        ("net/../../version", "EXDEV"),
        ("/proc/version", "EXDEV"),
        ("no/such", "ENOENT"),
        ("kernel/ostype/x", "ENOTDIR"),
        ("kernel", "EISDIR"),
        ("", "EISDIR"),
    ],
)
def test_a_sysctl_is_beneath_its_directory(rootfs: Path, path: str, expected: str) -> None:
    name, error, _ = failure_of([*begin(rootfs), step("sysctl", path=path, value="x")])
    assert name == "sysctl" and error == expected


def test_a_session_keyring(rootfs: Path) -> None:
    output = shell(rootfs, "cat /proc/keys", step("session_keyring", name="_ses.test"))
    rings = [line for line in output.splitlines() if "_ses.test" in line]
    assert len(rings) == 1 and int(rings[0].split()[4], 16) & 0x80000  # its owner may search it


def test_a_label_of_a_missing_lsm_fails(rootfs: Path) -> None:
    if Path("/sys/module/apparmor").exists():
        pytest.skip("this kernel has AppArmor")
    label = step("label_process", lsm="apparmor", attribute="exec", value="exec unconfined")
    assert failure_of([*begin(rootfs), label])[:2] == ("label_process", "EINVAL")


# ------------------------------------------------------------------- the user


def status_of(rootfs: Path, *steps: Step) -> dict[str, list[str]]:
    plan = [*begin(rootfs), proc(), step("pivot_root"), *steps, *finish("cat", "/proc/self/status")[1:]]
    status, output = output_of(plan)
    assert status == 0
    return {key: value.split() for key, _, value in (line.partition(":") for line in output.splitlines())}


def test_user_and_groups(rootfs: Path) -> None:
    found = status_of(rootfs, step("groups", gids=[5, 70000]), step("user", uid=1000, gid=2000))
    assert (found["Uid"], found["Gid"], found["Groups"]) == (["1000"] * 4, ["2000"] * 4, ["5", "70000"])
    assert found["CapEff"] == found["CapPrm"] == ["0" * 16]
    assert status_of(rootfs, step("groups", gids=[]))["Groups"] == []


@pytest.mark.parametrize(("uid", "gid"), [(-1, 0), (0, -1), (2**32 - 1, 0), (0, 2**32), (2**32, 0)])
def test_an_id_out_of_range(uid: int, gid: int) -> None:
    assert failure_of([step("user", uid=uid, gid=gid)]) == ("user", "EINVAL", "the id is out of range")


def test_capabilities_over_the_change_of_user(rootfs: Path) -> None:
    kept = 1 << 10 | 1 << 13
    found = status_of(
        rootfs,
        step("bounding_set", mask=kept | 1),
        step("keep_capabilities", value=1),
        step("user", uid=1000, gid=1000),
        step("keep_capabilities", value=0),
        step("capabilities", effective=kept, permitted=kept, inheritable=1 << 10),
        step("ambient_set", mask=1 << 10),
    )
    mask = {name: int(found[name][0], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    assert mask == {
        "CapInh": 1 << 10,
        "CapPrm": 1 << 10,
        "CapEff": 1 << 10,
        "CapBnd": kept | 1,
        "CapAmb": 1 << 10,
    }


def test_no_ambient_capability_is_left(rootfs: Path) -> None:
    raised = 1 << 10
    found = status_of(
        rootfs,
        step("capabilities", effective=-1 & 0x3FF | raised, permitted=0x3FF | raised, inheritable=raised),
        step("ambient_set", mask=raised),
        step("ambient_set", mask=0),
    )
    assert found["CapAmb"] == ["0" * 16]
    refused = [step("capabilities", effective=0, permitted=0), step("ambient_set", mask=1)]
    assert failure_of([*begin(rootfs), *refused])[2] == "prctl PR_CAP_AMBIENT_RAISE 0"


def test_the_standard_streams_are_given_away_but_not_what_isnt_ours(tmp_path: Path) -> None:
    """A file's group stays, and so does the caller's terminal."""
    (tmp_path / "file").touch()
    os.chown(tmp_path / "file", 0, 5678)
    master, slave = os.openpty()
    before = os.fstat(slave)
    with (tmp_path / "file").open("r+") as file:
        steps = [step("stdio_owner", uid=1234), step("enter_directory", path="/no/such", final=1)]
        failure_of(steps, stdin=subprocess.DEVNULL, stdout=file, stderr=slave)
    assert os.fstat(slave).st_uid == before.st_uid
    os.close(master)
    os.close(slave)
    status = (tmp_path / "file").stat()
    assert (status.st_uid, status.st_gid) == (1234, 5678)
    assert os.stat("/dev/null").st_uid != 1234


def test_a_new_user_namespace(rootfs: Path, tmp_path: Path) -> None:
    open_to_everyone(tmp_path)
    for name in (rootfs, *rootfs.iterdir()):
        os.chown(name, 100000, 100000)
    early, *rest = begin(rootfs, driver.NAMESPACES | CLONE_NEWUSER | CLONE_NEWCGROUP)
    steps = [
        early,
        step("wait_runtime", reason="maps"),
        step("groups", gids=[]),
        step("user", uid=0, gid=0),
        *rest,
        proc(),
        step("mount_filesystem", type="tmpfs", source="tmpfs", target="/tmp"),
        step("mount_filesystem", type="sysfs", source="sysfs", target="/sys", attrs=ATTR_RDONLY),
        step("sysctl", path="net/ipv4/ip_unprivileged_port_start", value="80"),
        step("mount_bind", source="/etc/hostname", target="/etc/hostname", set=ATTR_RDONLY),
        step("mask_path", path="/etc"),
        step("readonly_path", path="/proc/sys"),
    ]
    with driver.running(
        [*steps, *finish("sh", "-c", "id -u; cat /proc/self/uid_map")], stdout=subprocess.PIPE
    ) as run:
        run.expect(driver.WAITING)
        info = Path(f"/proc/self/fdinfo/{run.pidfds[0]}").read_text()
        pid = int(info.split("Pid:")[1].split()[0])
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text("0 100000 65536")
        run.go()
        run.expect_end()
        assert run.process.stdout
        output = run.process.stdout.read().split()
        run.process.stdout.close()
        assert run.wait() == 0
    assert output == [b"0", b"0", b"100000", b"65536"]


# ------------------------------------------------------------------- joining, time, HOME


def test_a_further_process_joins_the_container(rootfs: Path) -> None:
    steps = [*begin(rootfs), proc(), step("hostname", name="joined"), *finish("sleep", "60")]
    (rootfs / "bin/hostname").symlink_to("busybox")
    with driver.running(steps) as first:
        first.expect_end()
        pidfd = first.pidfds[0]
        process = step("join_process", pidfd=pidfd, kinds=driver.NAMESPACES)
        run = ["sh", "-c", "hostname; pwd; readlink /proc/1/exe; [ $$ != 1 ]"]
        assert output_of([process, step("clone"), *finish(*run)[1:]], pass_fds=(pidfd,)) == (
            0,
            "joined\n/\n/bin/busybox\n",
        )
        info = Path(f"/proc/self/fdinfo/{pidfd}").read_text()
        pid = int(info.split("Pid:")[1].split()[0])
        kinds = {
            "ipc": driver.CLONE_NEWIPC,
            "uts": driver.CLONE_NEWUTS,
            "net": driver.CLONE_NEWNET,
            "pid": CLONE_NEWPID,
            "mnt": CLONE_NEWNS,
        }
        files = {name: os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY) for name in kinds}
        joins = [step("join_namespace", fd=files[name], kind=kind) for name, kind in kinds.items()]
        try:
            assert output_of([*joins, step("clone"), *finish(*run)[1:]], pass_fds=tuple(files.values())) == (
                0,
                "joined\n/\n/bin/busybox\n",
            )
        finally:
            for file in files.values():
                os.close(file)


def test_time_offsets(rootfs: Path) -> None:
    offsets = step("time_offsets", offsets="monotonic 0 0\nboottime 864000 0\n")
    steps = [offsets, *begin(rootfs), proc(), *finish("cat", "/proc/uptime")]
    output = output_of(steps)[1]
    assert float(output.split()[0]) > 864000 + float(Path("/proc/uptime").read_text().split()[0]) - 60
    assert failure_of([step("time_offsets", offsets="nonsense")])[:2] == ("time_offsets", "EINVAL")
    assert CLONE_NEWTIME


PASSWD = b"""\
root:x:0:0:root:/root:/bin/sh
# a comment
broken line
1000:x:5:5:a name that is a number:/wrong:/bin/sh
user:x:1000:1000::/home/user:/bin/sh
again:x:1000:1000::/second:/bin/sh
relative:x:1002:1002::home:/bin/sh
spaced:x: 1003:1003::/wrong:
hex:x:0x3ec:1:1:/wrong:
wide:x:18446744073709552621:1::/wrong:
last:x:1001:1001::/home/last"""


@pytest.mark.parametrize(
    ("uid", "home"),
    [
        (0, "/root"),
        (1000, "/home/user"),
        (1001, "/home/last"),
        (1002, "/"),
        (1003, "/"),
        (1004, "/"),
        (1005, "/"),
        (-1, None),
    ],
)
def test_the_home_is_by_number(rootfs: Path, uid: int, home: str | None) -> None:
    (rootfs / "etc/passwd").write_bytes(PASSWD)
    assert home_of(rootfs, uid) == home


def home_of(rootfs: Path, uid: int) -> str | None:
    *steps, _ = [*begin(rootfs), *finish("env")]
    program = step("execute", argv=["env"], env=["A=1"], home_of=uid)
    lines = dict(line.split("=", 1) for line in output_of([*steps, program])[1].splitlines())
    return lines.get("HOME")


def test_a_hostile_passwd_gives_no_home(rootfs: Path, tmp_path: Path) -> None:
    passwd = rootfs / "etc/passwd"
    assert home_of(rootfs, 0) == "/"
    passwd.write_bytes(b"\0\n:::::\n" * 100000 + b"root:x:0:0:root:/root:/bin/sh\n")
    assert home_of(rootfs, 0) == "/"
    passwd.write_bytes(b"root:x:0:0:root:/" + b"x" * 5000 + b":/bin/sh\n")
    assert home_of(rootfs, 0) == "/"
    passwd.unlink()
    os.mkfifo(passwd)
    assert home_of(rootfs, 0) == "/"
    passwd.unlink()
    (tmp_path / "outside").write_bytes(b"root:x:0:0:root:/outside:/bin/sh\n")
    passwd.symlink_to(tmp_path / "outside")
    assert home_of(rootfs, 0) == "/"


def test_a_working_directory_only_the_user_may_enter(rootfs: Path) -> None:
    """And one that nobody may: without its capabilities root is denied too, first without harm."""
    (rootfs / "tmp/own").mkdir(mode=0o700)
    os.chown(rootfs / "tmp/own", 1000, 1000)
    path = "/tmp/own"
    weak = step("capabilities", effective=1 << 6 | 1 << 7, permitted=1 << 6 | 1 << 7)
    enter, again = step("enter_directory", path=path), step("enter_directory", path=path, final=1)
    base = [*begin(rootfs), step("pivot_root"), weak]
    end = [step("find_program", name="/bin/pwd"), step("execute", argv=["pwd"], home_of=-1)]
    assert output_of([*base, enter, step("user", uid=1000, gid=1000), again, *end]) == (0, "/tmp/own\n")
    assert failure_of([*base, enter, step("user", uid=1001, gid=1001), again])[:2] == (
        "enter_directory",
        "EACCES",
    )


# ------------------------------------------------------------------- the terminal


def test_a_terminal(rootfs: Path) -> None:
    steps = [
        *begin(rootfs),
        proc(),
        *devices(),
        step("new_session"),
        step("terminal", width=101, height=37, attach=1, uid=1000, gid=5),
        *finish("sh", "-c", "tty; stat -c '%t:%T %u:%g' /dev/console $(tty); stty size; cat"),
    ]
    (rootfs / "bin/stty").symlink_to("busybox")
    with driver.running(steps) as run:
        report = run.expect(driver.DESCRIPTOR)
        assert report.value == 1
        run.go()
        run.expect_end()
        os.write(report.descriptor, b"line\n\4")
        output = driver.read_terminal(report.descriptor)
        assert run.wait() == 0
        os.close(report.descriptor)
    lines = output.decode().replace("\r", "").splitlines()
    assert lines.count("line") == 2  # the terminal's echo, and cat's
    assert [line for line in lines if line != "line"] == [
        "/dev/pts/0",
        "88:0 1000:5",
        "88:0 1000:5",
        "37 101",
    ]


def test_a_terminal_without_the_runtime(rootfs: Path) -> None:
    steps = [*begin(rootfs), *devices(), step("new_session"), step("terminal")]
    with driver.running(steps) as run:
        os.close(run.expect(driver.DESCRIPTOR).descriptor)
        run.control.close()
        assert run.wait() == 1


def test_a_terminal_needs_a_devpts(rootfs: Path) -> None:
    (rootfs / "dev/pts").mkdir()
    os.mknod(rootfs / "dev/pts/ptmx", stat.S_IFCHR | 0o666, os.makedev(5, 2))
    assert failure_of([*begin(rootfs), step("new_session"), step("terminal")]) == (
        "terminal",
        "ENODEV",
        "the container's /dev/pts isn't a devpts",
    )


def test_the_plan_can_be_large(rootfs: Path) -> None:
    argv = ["sh", "-c", "echo $#", "sh", *(str(number) for number in range(5000))]
    steps = [
        *begin(rootfs),
        step("pivot_root"),
        step("find_program", name="/bin/sh"),
        step("execute", argv=argv, env=[f"V{number}=x" for number in range(2000)], home_of=0),
    ]
    assert output_of(steps) == (0, "5000\n")
    assert struct.calcsize("Q") == 8
