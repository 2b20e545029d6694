using Polyblk.Machine;

namespace Polyblk.Compare.Tests;

/// <summary>Folders whose owners can be seen to live.</summary>
public sealed class OwnedFolderTests : IDisposable
{
    private const string Prefix = "polyblk-test-";

    private readonly string _place = Directory.CreateTempSubdirectory("polyblk-owned-").FullName;

    public void Dispose() => Directory.Delete(_place, recursive: true);

    [Fact]
    public void A_folder_is_abandoned_when_nobody_holds_its_lock()
    {
        using (OwnedFolder own = OwnedFolder.Create(_place, Prefix))
        {
            Assert.Equal(Path.Combine(_place, $"{Prefix}{Environment.ProcessId}"), own.Path);
            using OwnedFolder second = OwnedFolder.Create(_place, Prefix);
            Assert.NotEqual(own.Path, second.Path);
            Assert.Equal(Environment.ProcessId, OwnedFolder.OwnerOf(second.Path, Prefix));
            Assert.Empty(OwnedFolder.Abandoned(_place, Prefix));
        }

        Assert.Empty(Directory.EnumerateFileSystemEntries(_place));

        // A process with this number lives, but it is another: nobody holds the lock.
        string dead = Directory.CreateDirectory(Path.Combine(_place, $"{Prefix}1")).FullName;
        File.WriteAllText(Path.Combine(dead, "lock"), "");
        Assert.Equal([dead], OwnedFolder.Abandoned(_place, Prefix));
    }

    [Fact]
    public void Without_a_lock_the_process_decides_and_other_names_are_left_alone()
    {
        string living = Directory.CreateDirectory(Path.Combine(_place, $"{Prefix}1")).FullName;
        string dead = Directory.CreateDirectory(Path.Combine(_place, $"{Prefix}{int.MaxValue}")).FullName;
        Directory.CreateDirectory(Path.Combine(_place, $"{Prefix}notes"));
        Directory.CreateDirectory(Path.Combine(_place, "else-1"));
        Assert.Equal([dead], OwnedFolder.Abandoned(_place, Prefix));
        using (OwnedFolder? claimed = OwnedFolder.Claim(dead, Prefix))
        {
            Assert.NotNull(claimed);
            Assert.Null(OwnedFolder.Claim(dead, Prefix));
            Assert.Empty(OwnedFolder.Abandoned(_place, Prefix));
        }

        Assert.False(Directory.Exists(dead));
        Assert.Null(OwnedFolder.Claim(dead, Prefix));
        Assert.False(OwnedFolder.IsAbandoned(living, Prefix));
        Assert.Empty(OwnedFolder.Abandoned(Path.Combine(_place, "nowhere"), Prefix));
    }
}
