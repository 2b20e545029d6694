using System.Globalization;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;

namespace Polyblk.Host.Serving;

/// <summary>
/// The groups and users of this host, as its name service knows them (getgrnam(3), getpwnam(3)), and who owns a file.
/// </summary>
public static class GroupDatabase
{
    /// <summary>As long as an entry may be: each of its members has a name in it.</summary>
    private const int MostBytes = 1 << 20;

    /// <summary>The number of a group.</summary>
    /// <param name="group">Its name, or its number.</param>
    /// <returns>Null when there is no group of this name.</returns>
    public static unsafe uint? Find(string group)
    {
        if (uint.TryParse(group, NumberStyles.None, CultureInfo.InvariantCulture, out uint number))
        {
            return number;
        }

        return Look((text, bytes) =>
        {
            var entry = default(Libc.group);
            Libc.group* found = null;
            int error = Libc.getgrnam_r(group, &entry, (byte*)text, (nuint)bytes, &found);
            return (error, error == 0 && found is not null ? entry.gr_gid : null);
        });
    }

    /// <summary>The number of a user.</summary>
    /// <param name="user">Its name, or its number.</param>
    /// <returns>Null when there is no user of this name.</returns>
    public static unsafe uint? FindUser(string user)
    {
        if (uint.TryParse(user, NumberStyles.None, CultureInfo.InvariantCulture, out uint number))
        {
            return number;
        }

        return Look((text, bytes) =>
        {
            var entry = default(Libc.passwd);
            Libc.passwd* found = null;
            int error = Libc.getpwnam_r(user, &entry, (byte*)text, (nuint)bytes, &found);
            return (error, error == 0 && found is not null ? entry.pw_uid : null);
        });
    }

    /// <summary>Looks with a buffer that is larger each time, until the entry has room in it.</summary>
    private static unsafe uint? Look(Func<nint, int, (int Error, uint? Id)> look)
    {
        for (int bytes = 1024; bytes <= MostBytes; bytes *= 4)
        {
            fixed (byte* text = new byte[bytes])
            {
                (int error, uint? id) = look((nint)text, bytes);
                if (error != Errno.ERANGE)
                {
                    return id;
                }
            }
        }

        return null;
    }

    /// <summary>Gives a file to a group; its owner stays. Zero, or a negative errno.</summary>
    public static int Give(string path, uint group) => Libc.chown(path, uint.MaxValue, group);
}
