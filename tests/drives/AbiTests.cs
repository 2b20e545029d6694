// What the kernel reads and answers, as a C compiler has it on x86-64.

using System.Runtime.InteropServices;
using Polyblk.Core.Tests.Interop;

namespace Polyblk.Drives.Tests;

public sealed class AbiTests
{
    [Fact]
    public void StatxIsAsInC()
    {
        Assert.Equal(256, Marshal.SizeOf<DriveCalls.statx>());
        (string Field, int Offset)[] offsets =
        [
            ("stx_mask", 0), ("stx_mode", 28), ("stx_size", 40), ("stx_rdev_major", 128), ("stx_rdev_minor", 132), ("stx_dio_mem_align", 152),
            ("stx_dio_offset_align", 156),
        ];
        Assert.All(offsets, o => Assert.Equal(o.Offset, (int)Marshal.OffsetOf<DriveCalls.statx>(o.Field)));
    }

    [Fact]
    public void ConstantsAreThoseOfTmdsLibC() => PackageConstants.RequireSame(typeof(DriveCalls), 6);
}
