// A disk image as distributions publish them, only smaller: a boot loader that the BIOS starts, Debian's kernel, and a first boot
// that takes what it needs to know from a volume "cidata", as cloud-init does, and then lets ssh in. It has no fio.

using Polyblk.GuestRig;

namespace Polyblk.CompareGuest.Tests;

/// <summary>Makes such images.</summary>
internal static class CloudImage
{
    private const string Name = "Tiny cloud system";
    private const long SizeBytes = 64 << 20;

    /// <summary>The first process: the part of cloud-init and of a distribution's start that a comparison needs.</summary>
    private const string Init = $$"""
        #!/bin/busybox sh
        export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root
        /bin/busybox mount -t proc proc /proc
        mount -t sysfs sys /sys
        mount -t devtmpfs dev /dev
        mkdir -p /dev/pts /dev/shm /seed /etc/dropbear
        mount -t devpts devpts /dev/pts
        for d in /tmp /run /dev/shm; do mount -t tmpfs -o mode=1777 tmpfs $d; done
        for module in virtio_blk virtio_net vfat nls_cp437 nls_ascii; do modprobe $module; done
        echo 'PRETTY_NAME="{{Name}}"' >/etc/os-release
        until volume=$(findfs LABEL=cidata 2>/dev/null); do usleep 50000; done
        mount -t vfat -o ro $volume /seed
        grep -q '^instance-id: .' /seed/meta-data && grep -q '^disable_root: false$' /seed/user-data || echo "the seed is no good"
        mkdir -m 700 -p /root/.ssh
        sed -n '/^ssh_authorized_keys:/,$s/^  - //p' /seed/user-data >/root/.ssh/authorized_keys
        umount /seed
        until [ -e /sys/class/net/eth0 ]; do usleep 50000; done
        ip link set lo up; ip link set eth0 up
        ip addr add 10.0.2.15/24 dev eth0
        exec dropbear -R -E -s -F
        """;

    /// <summary>What a comparison says of the system in it.</summary>
    public static string System => Name;

    /// <summary>Writes an image in QEMU's format.</summary>
    /// <param name="folder">For it and what it is made of.</param>
    public static string Make(string folder)
    {
        (string kernel, string initramfs, string settings) = (Path.Combine(folder, "vmlinuz"), Path.Combine(folder, "initrd"), Path.Combine(folder, "syslinux.cfg"));
        new GuestVmBuilder("cloud-image", GuestKernel.Linux612).Programs("dropbear").Text("/cloud", Init).WriteTo(kernel, initramfs);
        File.WriteAllText(settings, "default linux\nlabel linux\n  kernel vmlinuz\n  append initrd=initrd rdinit=/cloud console=ttyS0 quiet panic=-1 no_timer_check\n");
        string image = Path.Combine(folder, "cloud.img");
        using (FileStream file = File.Create(image))
        {
            file.SetLength(SizeBytes);
        }

        TestPrograms.Run("mformat", "-i", image, "-h", "64", "-s", "32", "-T", $"{SizeBytes / 512}", "::");
        TestPrograms.Run("mcopy", "-i", image, kernel, initramfs, settings, "::");
        TestPrograms.Run("syslinux", "--install", image);
        string published = Path.Combine(folder, "cloud.qcow2");
        TestPrograms.Run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", image, published);
        return published;
    }
}
