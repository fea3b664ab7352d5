"""What a running process may still do, found out from the process itself, and written as the unit of systemd that would
leave it as much: for `systemd-analyze security` to judge.

Identity, capabilities and umask come from /proc. Its filters of system calls are taken out of the kernel and evaluated,
with arguments that are known in part: nothing is called for that, so that also what kills can be asked for. What the
filter lets it open is tried: the process is stopped (ptrace), opens traps in its own place, and goes on as if nothing had
been. A setting stands in the unit only where all of that said so.
"""
import contextlib
import ctypes
import errno
import os
import platform
import pwd
import re
import stat
import struct
import subprocess
import tempfile

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.restype = ctypes.c_long
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
SECCOMP = ctypes.CDLL("libseccomp.so.2")
SECCOMP.seccomp_syscall_resolve_num_arch.restype = ctypes.c_void_p
SECCOMP.seccomp_syscall_resolve_num_arch.argtypes = [ctypes.c_uint32, ctypes.c_int]
SEIZE, INTERRUPT, GETREGSET, SETREGSET, SYSCALL, DETACH, GET_FILTER = 0x4206, 0x4207, 0x4204, 0x4205, 24, 17, 0x420c
SYSGOOD, PRSTATUS = 1, 1
ALL = (1 << 64) - 1
HERE = {"x86_64": {"arch": 0xC000003E, "foreign": [(0x40000003, 0, 0), (0xC000003E, 1 << 30, 1 << 30)], "code": b"\x0f\x05",
                   "words": 27, "ip": 16, "sp": 19, "nr": 10, "result": 10, "again": 15, "args": (14, 13, 12, 7, 9, 8)},
        "aarch64": {"arch": 0xC00000B7, "foreign": [(0x40000028, 0, 0)], "code": b"\x01\x00\x00\xd4",
                    "words": 34, "ip": 32, "sp": 31, "nr": 8, "result": 0, "again": None, "args": (0, 1, 2, 3, 4, 5)},
        }[platform.machine()]
FAMILIES = {1: "AF_UNIX", 2: "AF_INET", 10: "AF_INET6", 16: "AF_NETLINK", 17: "AF_PACKET"}
NAMESPACES = (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)  # CLONE_NEW*
AT_FDCWD = -100
PSEUDO = {"null", "zero", "full", "random", "urandom", "tty", "ptmx"}  # PrivateDevices leaves these


def syscalls():
    """{name: number} of this machine."""
    found = {}
    for nr in range(600):
        at = SECCOMP.seccomp_syscall_resolve_num_arch(HERE["arch"], nr)
        if at:
            found[ctypes.string_at(at).decode()] = nr
            LIBC.free(ctypes.c_void_p(at))
    return found


NR = syscalls()


# --- filters ---

def step(ins, a, x, mem, data):
    """One instruction that is no jump and no return. A word is (value, bits of it that are known)."""
    code, k = ins[0], ins[3]
    kind = code & 7
    if kind == 0:  # load
        mode = code & 0xe0
        return ({0x20: data.get(k, (0, 0)), 0x60: mem.get(k, (0, 0)), 0x00: (k, 0xffffffff), 0x80: (64, 0xffffffff)}[mode], x, mem)
    if kind == 1:
        return (a, (k, 0xffffffff) if code & 0xe0 == 0 else mem.get(k, (0, 0)), mem)
    if kind in (2, 3):
        return (a, x, {**mem, k: a if kind == 2 else x})
    if kind == 4:
        other = x if code & 8 else (k, 0xffffffff)
        if code & 0xf0 == 0x50:  # and: a bit that one side has as 0 is known
            known = (a[1] & other[1]) | (a[1] & ~a[0]) | (other[1] & ~other[0])
            return ((a[0] & other[0] & known, known & 0xffffffff), x, mem)
        return ((0, 0), x, mem)
    return ((x, x, mem) if code & 0x80 else (a, a, mem)) if kind == 7 else (a, x, mem)


def ways(ins, a, x):
    """Where a conditional jump may go: a set of True and False."""
    k, known = (x if ins[0] & 8 else (ins[3], 0xffffffff))
    least, most = a[0] & a[1], (a[0] & a[1]) | (~a[1] & 0xffffffff)
    if known != 0xffffffff:
        return {True, False}
    op = ins[0] & 0xf0
    if op == 0x10:
        return {False} if (a[0] ^ k) & a[1] else {True} if a[1] == 0xffffffff else {True, False}
    if op == 0x40:
        return {True} if a[0] & a[1] & k else {False} if a[1] & k == k else {True, False}
    edge = k + 1 if op == 0x20 else k
    return {True} if least >= edge else {False} if most < edge else {True, False}


def may_pass(program, data):
    """Is there an end of this filter that lets the call through?"""
    todo, seen = [(0, (0, 0xffffffff), (0, 0xffffffff), {})], set()
    while todo:
        pc, a, x, mem = todo.pop()
        key = (pc, a, x, tuple(sorted(mem.items())))
        if key in seen:
            continue
        seen.add(key)
        ins = program[pc]
        if ins[0] & 7 == 6:
            if (ins[3] if ins[0] & 0x18 == 0 else 0x7fff0000) & 0x7fff0000 in (0x7fff0000, 0x7ffc0000):
                return True
        elif ins[0] & 7 != 5:
            todo.append((pc + 1, *step(ins, a, x, mem, data)))
        elif ins[0] & 0xf0 == 0:
            todo.append((pc + 1 + ins[3], a, x, mem))
        else:
            todo += [(pc + 1 + ins[1 if way else 2], a, x, mem) for way in ways(ins, a, x)]
    return False


def words(arch, nr, args):
    """The kernel's struct seccomp_data as words; nr is (value, known), args {index: (value, known)} of 64 bits."""
    data = {0: nr, 4: (arch, 0xffffffff)}
    for i, (value, known) in args.items():
        data[16 + 8 * i] = (value & 0xffffffff, known & 0xffffffff)
        data[20 + 8 * i] = (value >> 32, known >> 32)
    return data


# --- a process that is held ---

class Held:
    def __init__(self, pid):
        self.pid = pid
        self.ptrace(SEIZE, 0, SYSGOOD)
        self.ptrace(INTERRUPT, 0, 0)
        os.waitpid(pid, 0x40000000)
        self.before = self.registers()
        self.filters = list(iter(self.filter, None))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        back = list(self.before)
        again = HERE["again"]
        if again is not None and back[again] < 1 << 63 and back[HERE["result"]] >= ALL - 515:  # its call was interrupted
            back[HERE["result"]], back[again] = ALL - errno.EINTR + 1, ALL
        with contextlib.suppress(OSError):
            self.set_registers(back)
            self.ptrace(DETACH, 0, 0)

    def ptrace(self, request, address, data):
        ctypes.set_errno(0)
        got = LIBC.ptrace(request, self.pid, address, data)
        if got < 0 and ctypes.get_errno():
            raise OSError(ctypes.get_errno(), f"ptrace {request:#x} of {self.pid}: {os.strerror(ctypes.get_errno())}")
        return got

    def filter(self):
        """The next one, the latest first; None behind the last."""
        n = len(getattr(self, "found", []))
        try:
            size = self.ptrace(GET_FILTER, n, None)
        except OSError as e:
            if e.errno in (errno.ENOENT, errno.EINVAL):  # EINVAL: it has none at all
                return None
            raise
        code = ctypes.create_string_buffer(size * 8)
        self.ptrace(GET_FILTER, n, ctypes.addressof(code))
        self.found = [*getattr(self, "found", []), n]
        return list(struct.iter_unpack("=HBBI", code.raw))

    def regset(self, request, raw):
        vec = (ctypes.c_void_p * 2)(ctypes.addressof(raw), len(raw))
        self.ptrace(request, PRSTATUS, ctypes.addressof(vec))
        return raw

    def registers(self):
        return list(struct.unpack(f"={HERE['words']}Q", self.regset(GETREGSET, ctypes.create_string_buffer(8 * HERE["words"])).raw))

    def set_registers(self, values):
        self.regset(SETREGSET, ctypes.create_string_buffer(struct.pack(f"={HERE['words']}Q", *values), 8 * HERE["words"]))

    def instruction(self):
        """Where in its code a system call is made: it is at one, as a rule."""
        code, ip = HERE["code"], self.before[HERE["ip"]]
        with open(f"/proc/{self.pid}/mem", "rb") as mem:
            for at in (ip - len(code), ip):
                mem.seek(at)
                if mem.read(len(code)) == code:
                    return at
            for line in open(f"/proc/{self.pid}/maps", encoding="utf-8"):
                if " r-xp " in line and "[v" not in line:
                    first, end = (int(n, 16) for n in line.split()[0].split("-"))
                    mem.seek(first)
                    found = mem.read(end - first).find(code)
                    if found >= 0:
                        return first + found
        raise OSError(errno.ENOEXEC, "no system call in its code")

    def wait_call(self):
        signal = 0
        while True:
            self.ptrace(SYSCALL, 0, signal)
            _, status = os.waitpid(self.pid, 0x40000000)
            if not os.WIFSTOPPED(status):
                raise OSError(errno.ESRCH, f"it ended: {status:#x}")
            if os.WSTOPSIG(status) == 5 | 0x80:
                return
            signal = os.WSTOPSIG(status) if status >> 16 == 0 else 0

    def call(self, name, *args):
        """Result of a system call that the process makes; strings are put below its stack."""
        room, numbers, text = (self.before[HERE["sp"]] - 16384) & ~15, [], b""
        for a in args:
            numbers.append(room + len(text) if isinstance(a, str) else a & ALL)
            text += a.encode() + b"\0" if isinstance(a, str) else b""
        with open(f"/proc/{self.pid}/mem", "r+b", buffering=0) as mem:
            mem.seek(room)
            kept = mem.read(len(text))
            mem.seek(room)
            mem.write(text)
            regs = list(self.before)
            regs[HERE["ip"]] = self.instruction()
            for place, value in zip(HERE["args"], numbers):
                regs[place] = value
            if HERE["again"] is not None:
                regs[HERE["again"]] = ALL
            regs[HERE["nr"]] = NR[name]
            self.set_registers(regs)
            self.wait_call()
            self.wait_call()
            result = self.registers()[HERE["result"]]
            mem.seek(room)
            mem.write(kept)
        return result - (1 << 64) if result >> 63 else result

    # --- questions ---

    def may(self, name, args=None):
        """Could this call pass, with these arguments? {index: (value, bits that are known)}; the others may be anything."""
        if name not in NR:
            return False
        data = words(HERE["arch"], (NR[name], 0xffffffff), args or {})
        return all(may_pass(f, data) for f in self.filters)

    def none(self, *names):
        return not any(self.may(n) for n in names)

    def tries(self, name, *args):
        """What it gets for it, or EPERM at once where the filter would end it."""
        numbers = {i: (a & ALL, ALL) for i, a in enumerate(args) if isinstance(a, int)}
        return self.call(name, *args) if self.may(name, numbers) else -errno.EPERM

    def opens(self, path, flags=os.O_RDONLY):
        fd = self.tries("openat", AT_FDCWD, path, flags | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, 0o600)
        if fd >= 0:
            self.call("close", fd)
        return fd >= 0


# --- traps: what anybody on the host could read or change, were there no sandbox ---

class Traps:
    def __init__(self, write=(), home=(), tmp=(), devices=(), cgroup=(), usr=()):
        self.write, self.home, self.tmp, self.devices, self.cgroup, self.usr = write, home, tmp, devices, cgroup, usr

    @staticmethod
    def make(folder):
        """A folder and a file in it that all may write to, as the caller sees them."""
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o777)
        for name in ("read", "write", "unlink", "rename"):
            with open(os.path.join(folder, name), "w", encoding="ascii"):
                pass
            os.chmod(os.path.join(folder, name), 0o666)


def changes(h, folder):
    """Can it change something there? Each way is tried until one works."""
    w = os.O_WRONLY
    return (h.opens(f"{folder}/write", w) or h.opens(f"{folder}/write", os.O_RDWR) or h.opens(f"{folder}/new", w | os.O_CREAT) or
            h.opens(f"{folder}/write", w | os.O_TRUNC) or h.tries("unlinkat", AT_FDCWD, f"{folder}/unlink", 0) >= 0 or
            h.tries("renameat2", AT_FDCWD, f"{folder}/rename", AT_FDCWD, f"{folder}/renamed", 0) >= 0 or
            h.tries("mkdirat", AT_FDCWD, f"{folder}/folder", 0o700) >= 0 or
            h.tries("symlinkat", "/etc/passwd", AT_FDCWD, f"{folder}/link") >= 0 or
            h.tries("fchmodat", AT_FDCWD, f"{folder}/read", 0o600) >= 0 or h.tries("truncate", f"{folder}/read", 0) >= 0)


def devices_of(pid):
    """Device nodes that it sees, without those that are none."""
    top, found = f"/proc/{pid}/root/dev", []
    for folder, folders, files in os.walk(top):
        folders[:] = [d for d in folders if d not in ("pts", "shm", "mqueue", "hugepages")]
        for name in files:
            with contextlib.suppress(OSError):
                if name not in PSEUDO and stat.S_IFMT(os.lstat(os.path.join(folder, name)).st_mode) in (stat.S_IFCHR, stat.S_IFBLK):
                    found.append("/dev" + os.path.join(folder, name)[len(top):])
    return found


def writable_tunables(pid):
    """Below /proc/sys, for all to write."""
    return [p for p in ("/proc/sys/kernel/ns_last_pid",) if os.path.exists(f"/proc/{pid}/root{p}") and
            os.stat(f"/proc/{pid}/root{p}").st_mode & 2]


# --- the unit ---

def bits(value, known=None):
    return (value, value if known is None else known)


def name_of(uid):
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def of_status(status):
    ids, caps = set(status["Uid"].split()) | set(status["Gid"].split()), 0
    for k in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        caps |= int(status[k], 16)
    lines = [f"CapabilityBoundingSet={' '.join(cap_names(caps))}", f"AmbientCapabilities={' '.join(cap_names(int(status['CapAmb'], 16)))}",
             f"UMask={status['Umask']}"]
    if "0" not in ids:
        lines.append("User=" + name_of(int(status["Uid"].split()[0])))
    if status["Groups"].split():
        lines.append("SupplementaryGroups=" + status["Groups"])
    if status["NoNewPrivs"] == "1":
        lines.append("NoNewPrivileges=yes")
    return lines


CAPS = ("chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service net_broadcast "
        "net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice "
        "sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog "
        "wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore").split()


def cap_names(mask):
    return ["CAP_" + n.upper() for i, n in enumerate(CAPS) if mask >> i & 1]


def of_filter(h):
    if not h.filters:
        return []
    lines = ["SystemCallFilter=" + " ".join(n for n in NR if h.may(n))]
    if not any(all(may_pass(f, words(arch, (value, known), {})) for f in h.filters) for arch, value, known in HERE["foreign"]):
        lines.append("SystemCallArchitectures=native")
    families = [f for f in range(46) if any(h.may(c, {0: (f, ALL)}) for c in ("socket", "socketpair"))]
    if all(f in FAMILIES for f in families):
        lines.append("RestrictAddressFamilies=" + (" ".join(FAMILIES[f] for f in families) or "none"))
    if h.none("setns", "clone3") and not any(h.may(c, {0: bits(f)}) for c in ("clone", "unshare") for f in NAMESPACES):
        lines.append("RestrictNamespaces=yes")
    if h.none("sched_setattr") and not any(h.may("sched_setscheduler", {1: (p, ALL)}) for p in (1, 2, 6)):
        lines.append("RestrictRealtime=yes")
    modes = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "mkdir": 1, "mkdirat": 2, "mknod": 1, "mknodat": 2, "creat": 1}
    sets = [h.may(c, {i: bits(bit)}) for c, i in modes.items() for bit in (0o4000, 0o2000)]
    sets += [h.may(c, {i: bits(os.O_CREAT), i + 1: bits(bit)}) for c, i in (("open", 1), ("openat", 2)) for bit in (0o4000, 0o2000)]
    if not any(sets) and h.none("openat2"):
        lines.append("RestrictSUIDSGID=yes")
    if h.none("personality"):
        lines.append("LockPersonality=yes")
    if not any((h.may("mmap", {2: bits(6)}), h.may("mprotect", {2: bits(4)}), h.may("pkey_mprotect", {2: bits(4)}),
                h.may("shmat", {2: bits(0o100000)}))):
        lines.append("MemoryDenyWriteExecute=yes")
    if h.none("add_key", "keyctl", "request_key"):
        lines.append("KeyringMode=private")
    if h.none("sethostname", "setdomainname"):
        lines.append("ProtectHostname=yes")
    if h.none("shmget", "semget", "msgget", "mq_open"):
        lines.append("RemoveIPC=yes")
    if h.none("mount", "umount2", "pivot_root", "move_mount", "open_tree", "fsopen", "fsmount", "fspick", "mount_setattr", "chroot"):
        lines.append("PrivateMounts=yes")
    return lines


def of_files(h, traps):
    """What it opens; each needs a trap that without a sandbox it would fall into."""
    lines = []
    if h.may("open_by_handle_at") or h.may("io_uring_setup") or h.may("openat2"):
        return lines
    never = h.none("open", "openat", "creat", "unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "truncate")
    reads = lambda paths: any(h.opens(p) for p in paths)  # noqa: E731
    if never or (traps.write and not any(changes(h, d) for d in traps.write)):
        lines.append("ProtectSystem=strict")
    if never or (traps.home and not reads(f"{d}/read" for d in traps.home)):
        lines.append("ProtectHome=yes")
    if never or (traps.tmp and not reads(f"{d}/read" for d in traps.tmp)):
        lines.append("PrivateTmp=yes")
    nodes = devices_of(h.pid)
    closed = never or (traps.devices and not reads([*traps.devices, *nodes]) and h.none("mknod", "mknodat"))
    if closed:
        lines += ["PrivateDevices=yes", "DevicePolicy=closed"]
    if closed and h.none("clock_settime", "settimeofday", "adjtimex", "clock_adjtime"):
        lines.append("ProtectClock=yes")
    if h.none("syslog") and (never or not reads(["/dev/kmsg", "/proc/kmsg"])):
        lines.append("ProtectKernelLogs=yes")
    if h.none("init_module", "finit_module", "delete_module") and (never or (traps.usr and not reads(f"{d}/read" for d in traps.usr))):
        lines.append("ProtectKernelModules=yes")
    tunables = writable_tunables(h.pid)
    if never or (tunables and not any(h.opens(p, os.O_WRONLY) for p in tunables)):
        lines.append("ProtectKernelTunables=yes")
    if never or (traps.cgroup and not any(changes(h, d) for d in traps.cgroup)):
        lines.append("ProtectControlGroups=yes")
    if not reads(["/proc/1/status", "/proc/1/cmdline"]) and h.none("ptrace", "process_vm_readv", "process_vm_writev", "pidfd_open"):
        lines.append("ProtectProc=invisible")
    if not reads(["/proc/meminfo", "/proc/stat", "/proc/sys/kernel/ostype", "/proc/net/dev"]):
        lines.append("ProcSubset=pid")
    return lines


def unit_of(pid, traps):
    """Lines of the unit that leaves a process what this one has."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        status = {k: v.strip() for k, v in (line.split(":", 1) for line in f)}
    with Held(pid) as h:
        return ["ExecStart=/bin/true", *of_status(status), *of_filter(h), *of_files(h, traps)]


def exposure(lines, name):
    """What systemd says of it: the number, and what it finds fault with."""
    with tempfile.TemporaryDirectory() as d:
        unit = os.path.join(d, f"{name}.service")
        with open(unit, "w", encoding="ascii") as f:
            f.write("[Service]\n" + "\n".join(lines) + "\n")
        out = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", unit], capture_output=True, text=True,
                             check=False, env=dict(os.environ, LC_ALL="C.UTF-8"))
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", out.stdout)
    if found is None:
        raise RuntimeError(out.stderr or out.stdout)
    faults = [re.sub(r"\s+", " ", line[1:]).strip() for line in out.stdout.splitlines() if line.startswith("✗")]
    return float(found[1]), faults
