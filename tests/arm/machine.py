"""A whole Linux board under emulation: Debian's kernel, a disk, a serial port, and the agent.

The board's root holds Python, the board's wheels and this project; its init starts ``/srv/start``
with the serial device as argument, again and again, until the power goes.
"""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

from tests.arm.debian import PROJECT, Apt, Unavailable, cache, host_program, run
from tests.arm.roots import AARCH64, make

# No numba: the twins serve, and no kernel is compiled under emulation for minutes.
LEAN = replace(
    AARCH64,
    name="aarch64-lean",
    wheels=(
        "numpy==2.4.6", "onnxruntime==1.32.0", "cbor2==6.3.0", "cryptography==50.0.2",
        "pyserial==3.5", "typing-extensions==4.15.0",
    ),
)  # fmt: skip
# What Debian's kernel has as modules, in the order of loading; those it has built in are passed.
VIRT_MODULES = (
    "virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
    "virtio_mmio", "virtio_blk", "crc16", "mbcache", "jbd2", "crc32c_generic", "libcrc32c", "ext4",
)  # fmt: skip
PI3_MODULES = (
    "sdhci", "sdhci-pltfm", "sdhci-iproc", "mmc/host/bcm2835", "crc16", "mbcache", "jbd2",
    "crc32c_generic", "libcrc32c", "ext4",
)  # fmt: skip
# A cable that begins and ends on the board: what the gadget says comes out of the host's end.
USB_MODULES = (
    "usb-common", "usbcore", "configfs", "udc-core", "libcomposite", "u_serial", "usb_f_acm",
    "dummy_hcd", "g_serial", "cdc-acm",
)  # fmt: skip
INIT = """#!/bin/sh
export PATH=/bin:/sbin:/usr/bin HOME=/root PYTHONUNBUFFERED=1 OPENBLAS_NUM_THREADS=1
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmp /tmp; mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts; mount -t tmpfs shm /dev/shm
for word in $(cat /proc/cmdline); do case $word in link=*) link=${word#link=};; esac; done
while true; do /srv/start "$link"; echo "the agent ended with $?"; sleep 1; done
"""
FIRST = """#!/bin/sh
b=/bin/busybox; $b mount -t proc p /proc; $b mount -t sysfs s /sys; $b mount -t devtmpfs d /dev
for m in $($b cat /modules/order); do $b insmod /modules/$m; done
i=0; while [ ! -b DEVICE ] && [ $i -lt 100 ]; do $b sleep 0.1; i=$((i+1)); done
$b mount -t ext4 DEVICE /new; $b umount /proc; $b umount /sys; $b umount /dev
exec $b switch_root /new /sbin/board-init
"""
START = """#!/bin/sh
exec python3 -m edge_runtime.board serve --port "$1" --baud 921600 --name emulated \\
    --state /var/lib/edge-agent --memory-mb 4096 OPTIONS
"""
USB_START = """#!/bin/sh
[ -e /tmp/bridge ] || { touch /tmp/bridge; python3 /srv/bridge.py "$1" /dev/ttyACM0 & }
set -- /dev/ttyGS0
""" + START.removeprefix("#!/bin/sh\n")
COMMANDS = ("sh", "mount", "cat", "sleep", "sync", "mkdir", "ls", "uname", "free", "poweroff")


class Kernel:
    """Debian's newest kernel of a flavour, unpacked, and a static busybox."""

    def __init__(self, flavour: str = "linux-image-cloud-arm64"):
        self.folder = cache() / flavour
        if not (self.folder / "complete").exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            apt = Apt(cache() / "apt-arm64-bookworm", "arm64", "bookworm")
            for package in (apt.newest(flavour, "linux-image"), "busybox-static"):
                run("dpkg-deb", "-x", apt.one(package), self.folder)
            (self.folder / "complete").touch()
        self.image = next(self.folder.glob("boot/vmlinuz-*"))
        self.busybox = self.folder / "bin/busybox"

    def initramfs(self, target: Path, device: str, modules: tuple[str, ...]) -> None:
        """Load what the disk needs, and go on from there."""
        tree = target.with_suffix(".dir")
        shutil.rmtree(tree, ignore_errors=True)
        for name in ("bin", "proc", "sys", "dev", "new", "modules"):
            (tree / name).mkdir(parents=True)
        shutil.copy(self.busybox, tree / "bin/busybox")
        (tree / "bin/sh").symlink_to("busybox")
        found = []
        for name in modules:
            for file in list(self.folder.glob(f"lib/modules/**/{name}.ko"))[:1]:
                shutil.copy(file, tree / "modules")
                found.append(file.name)
        (tree / "modules/order").write_text("\n".join(found))
        (tree / "init").write_text(FIRST.replace("DEVICE", device))
        (tree / "init").chmod(0o755)
        names = "\n".join(str(each.relative_to(tree)) for each in sorted(tree.rglob("*")))
        if shutil.which("cpio") is None:
            raise Unavailable("cpio is not installed")
        archive = subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"],
            input=names.encode(), cwd=tree, stdout=subprocess.PIPE, check=True,
        ).stdout  # fmt: skip
        target.write_bytes(gzip.compress(archive, 1))
        shutil.rmtree(tree)


def disk(target: Path, busybox: Path, srv: Path, options: str, start: str = START) -> None:
    """An ext4 disk: a board's root, this project, `srv`, and the agent with its `options`."""
    board = LEAN
    root = make(board)
    tree = target.with_suffix(".dir")
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(root.tree, tree, symlinks=True)
    for name in ("proc", "sys", "usr/share/doc", "usr/share/man", "usr/share/zoneinfo"):
        shutil.rmtree(tree / name, ignore_errors=True)
    for name in ("proc", "sys", "dev", "tmp", "run", "root", "var/lib/edge-agent/keys"):
        (tree / name).mkdir(parents=True, exist_ok=True)
    packages = tree / f"usr/local/lib/python{board.python}/dist-packages"
    shutil.copytree(root.site, packages)
    for name in ("edge_runtime", "adaptors", "hdc"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / name, packages / name, ignore=ignored)
    run("python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", packages)
    shutil.copy(busybox, tree / "bin/busybox")
    for name in COMMANDS:
        (tree / "bin" / name).unlink(missing_ok=True)
        (tree / "bin" / name).symlink_to("busybox")
    shutil.copytree(srv, tree / "srv", dirs_exist_ok=True)
    for key in srv.glob("*.pub.pem"):
        shutil.copy(key, tree / "var/lib/edge-agent/keys" / key.name)
    for path, text in (("srv/start", start.replace("OPTIONS", options)), ("sbin/board-init", INIT)):
        (tree / path).write_text(text)
        (tree / path).chmod(0o755)
    used = int(run("du", "-sm", tree).split()[0])
    size = 128
    while size < used * 5 // 4 + 64:  # an SD card's size is a power of two
        size *= 2
    target.unlink(missing_ok=True)
    run("mke2fs", "-q", "-t", "ext4", "-O", "^metadata_csum", "-d", tree, target, f"{size}M")
    shutil.rmtree(tree)


class Machine:
    """The board while it has power. `port` is where its serial line ends on the host."""

    def __init__(self, command: list[str], console: Path):
        self.command, self.console = command, console
        self.process: subprocess.Popen[str] | None = None
        self.port = ""

    def power_on(self) -> None:
        """Start; returns when the serial line is there, long before the agent answers."""
        log = self.console.open("a")
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        assert self.process.stdout is not None
        for line in self.process.stdout:
            log.write(line)
            if found := re.search(r"redirected to (\S+) \(label link\)", line):
                self.port = found[1]
                break
        else:
            raise Unavailable(f"qemu ended with {self.process.wait()}: see {self.console}")
        self._listener = threading.Thread(target=self._listen, args=(self.process.stdout, log))
        self._listener.start()

    @staticmethod
    def _listen(lines, log) -> None:
        with log, lines:
            for line in lines:
                log.write(line)
                log.flush()

    def power_off(self) -> None:
        """Pull the plug: whatever is not on the disk is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self._listener.join()

    def __enter__(self):
        self.power_on()
        return self

    def __exit__(self, *_):
        self.power_off()


def virt(folder: Path, srv: Path, options: str) -> Machine:
    """A board with an 8250 UART on PCI, a virtio disk and 512 MB, made in `folder`."""
    kernel = Kernel()
    kernel.initramfs(folder / "initrd.gz", "/dev/vda", VIRT_MODULES)
    disk(folder / "root.ext4", kernel.busybox, srv, options)
    return _virt(folder, kernel)


def usb_gadget(folder: Path, srv: Path, options: str) -> Machine:
    """The same board, its agent on a USB serial gadget, which a bridge joins to the UART."""
    kernel = Kernel("linux-image-arm64")
    kernel.initramfs(folder / "initrd.gz", "/dev/vda", VIRT_MODULES + USB_MODULES)
    shutil.copy(Path(__file__).with_name("bridge.py"), srv)
    disk(folder / "root.ext4", kernel.busybox, srv, options, USB_START)
    return _virt(folder, kernel)


def _virt(folder: Path, kernel: Kernel) -> Machine:
    qemu = host_program("qemu-system-aarch64", "qemu-system-arm")
    command = [
        *qemu, "-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "512", "-display", "none",
        "-nodefaults", "-no-reboot", "-kernel", str(kernel.image),
        "-initrd", str(folder / "initrd.gz"),
        "-drive", f"file={folder / 'root.ext4'},format=raw,if=none,id=d",
        "-device", "virtio-blk-pci,drive=d", "-chardev", "stdio,id=con", "-serial", "chardev:con",
        "-chardev", "pty,id=link", "-device", "pci-serial,chardev=link",
        "-append", "console=ttyAMA0 quiet panic=-1 link=/dev/ttyS0",
    ]  # fmt: skip
    return Machine(command, folder / "console.log")


def raspberry_pi_3(folder: Path, srv: Path, options: str) -> Machine:
    """A Raspberry Pi 3 B: its own device tree, its PL011 as /dev/ttyAMA0, its disk an SD card."""
    qemu = host_program("qemu-system-aarch64", "qemu-system-arm")
    kernel = Kernel("linux-image-arm64")
    kernel.initramfs(folder / "initrd.gz", "/dev/mmcblk0", PI3_MODULES)
    disk(folder / "card.ext4", kernel.busybox, srv, options)
    tree = folder / "pi3.dtb"
    shutil.copy(
        next(kernel.folder.glob("usr/lib/linux-image-*/broadcom/bcm2837-rpi-3-b.dtb")), tree
    )
    run("fdtput", "-r", tree, "/soc/serial@7e201000/bluetooth")  # else it claims the PL011
    command = [
        *qemu, "-M", "raspi3b", "-display", "none", "-no-reboot", "-kernel", str(kernel.image),
        "-dtb", str(tree), "-initrd", str(folder / "initrd.gz"),
        "-drive", f"file={folder / 'card.ext4'},if=sd,format=raw",
        "-chardev", "pty,id=link", "-serial", "chardev:link",
        "-chardev", "stdio,id=con", "-serial", "chardev:con",
        "-append", "console=ttyS1,115200 8250.nr_uarts=2 quiet panic=-1 link=/dev/ttyAMA0",
    ]  # fmt: skip
    return Machine(command, folder / "console.log")
