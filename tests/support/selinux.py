"""The smallest SELinux policy in which containers can be labelled, for a kernel that has none loaded."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

# Of modules that need it: Debian's kernel has it where it is booted with security=selinux (make test-v2).
NEEDED = [
    pytest.mark.skipif(
        "selinuxfs" not in Path("/proc/filesystems").read_text(), reason="SELinux is off in this kernel"
    ),
    pytest.mark.skipif(shutil.which("secilc") is None, reason="secilc, which compiles policies, is missing"),
]
MOUNT = Path("/sys/fs/selinux")
# In the kernel's order, security/selinux/include/initial_sid_to_string.h
INITIAL = (
    *("kernel", "security", "unlabeled", "fs", "file", "file_labels", "init", "any_socket", "port", "netif"),
    *("netmsg", "node", "igmp_packet", "icmp_socket", "tcp_socket", "sysctl_modprobe", "sysctl", "sysctl_fs"),
    *("sysctl_kernel", "sysctl_net", "sysctl_net_unix", "sysctl_vm", "sysctl_dev", "kmod", "policy"),
    *("scmp_packet", "devnull"),
)
CATEGORIES = "c0 c1 c2"
BODY = f"""
(handleunknown allow)
(mls true)
(policycap nnp_nosuid_transition)
(class security (load_policy))
(class process (fork transition dyntransition setexec setkeycreate nosuid_transition))
(class file (read entrypoint)) (class dir (read)) (class filesystem (mount)) (class key (view))
(classorder (security process file dir filesystem key))
(user system_u) (role system_r) (role object_r) (type kernel_t) (type boxed_t) (type container_file_t)
(userrole system_u system_r) (userrole system_u object_r) (roletype system_r kernel_t)
(roletype system_r boxed_t) (roletype object_r kernel_t) (roletype object_r container_file_t)
(sensitivity s0) (sensitivityorder (s0))
{" ".join(f"(category {name})" for name in CATEGORIES.split())} (categoryorder ({CATEGORIES}))
(sensitivitycategory s0 (range c0 c2))
(level low (s0)) (level high (s0 (range c0 c2))) (userlevel system_u low) (userrange system_u (low high))
(allow kernel_t kernel_t (process (fork)))
(allow kernel_t boxed_t (process (transition)))
"""


def policy() -> str:
    """The policy's source, for secilc(8): it permits everything, so to speak, as nothing is enforced."""
    context = "(system_u {} kernel_t ({} {}))"
    lines = [BODY, f"(sidorder ({' '.join(INITIAL)}))"]
    lines += [f"(sid {name})" for name in INITIAL]
    lines += [f"(sidcontext {name} {context.format('object_r', 'low', 'low')})" for name in INITIAL[1:]]
    lines.append(f"(sidcontext kernel {context.format('system_r', 'low', 'high')})")
    for kind in ("tmpfs", "devpts", "mqueue", "devtmpfs"):
        lines.append(f"(fsuse trans {kind} {context.format('object_r', 'low', 'low')})")
    return "\n".join(lines) + "\n"


def load(directory: Path) -> None:
    """Compile the policy and load it; there is no way back but another boot."""
    if not (MOUNT / "load").exists():
        subprocess.run(["mount", "-t", "selinuxfs", "selinuxfs", str(MOUNT)], check=True)
    if os.path.getsize(MOUNT / "policy"):
        return
    (directory / "policy.cil").write_text(policy())
    command = ["secilc", "-c", "33", "-o", str(directory / "policy"), "-f", "/dev/null"]
    subprocess.run([*command, str(directory / "policy.cil")], check=True)
    data = (directory / "policy").read_bytes()
    with (MOUNT / "load").open("wb", buffering=0) as file:
        assert file.write(data) == len(data)
