using Polyblk.Core.Block;

namespace Polyblk.Core.Tests.Block;

public sealed class BlockErrorsTests
{
    [Theory]
    [InlineData(0, BlockErrorKind.None)]
    [InlineData(Errno.EAGAIN, BlockErrorKind.Passing)]
    [InlineData(Errno.ENOMEM, BlockErrorKind.Passing)]
    [InlineData(Errno.ETIMEDOUT, BlockErrorKind.Passing)]
    [InlineData(Errno.ENOSPC, BlockErrorKind.NoSpace)]
    [InlineData(Errno.EDQUOT, BlockErrorKind.NoSpace)]
    [InlineData(Errno.EFAULT, BlockErrorKind.Memory)]
    [InlineData(Errno.EOPNOTSUPP, BlockErrorKind.Unsupported)]
    [InlineData(Errno.ENODEV, BlockErrorKind.Gone)]
    [InlineData(Errno.EIO, BlockErrorKind.Fault)]
    [InlineData(Errno.EROFS, BlockErrorKind.Fault)]
    [InlineData(9999, BlockErrorKind.Fault)]
    public void Every_error_has_a_kind(int errno, BlockErrorKind kind) => Assert.Equal(kind, BlockErrors.KindOf(-errno));

    [Theory]
    [InlineData(Errno.EDQUOT, Errno.ENOSPC)]
    [InlineData(Errno.EFBIG, Errno.ENOSPC)]
    [InlineData(Errno.EREMOTEIO, Errno.EIO)]
    public void Consumers_hear_of_missing_room_and_otherwise_of_an_error(int errno, int told) => Assert.Equal(-told, BlockErrors.ForConsumer(-errno));
}
