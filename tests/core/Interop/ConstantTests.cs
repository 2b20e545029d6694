using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Uring;

namespace Polyblk.Core.Tests.Interop;

public sealed class ConstantTests
{
    [Theory]
    [InlineData(typeof(Errno), 25)]
    [InlineData(typeof(Libc), 50)]
    [InlineData(typeof(UringAbi), 35)]
    public void ConstantsAreThoseOfTmdsLibC(Type type, int least) => PackageConstants.RequireSame(type, least);
}
