// What must survive a dead process: which device number belongs to which export.
//
// One small JSON file an export in STATE/ublk, written by rename, so that it is whole or absent. It stays after a clean stop: the
// next start under the same id asks for the same number, and /dev/ublkbN keeps its name. The kernel's own record of a device
// carries a mark of the export and its volume too (ublksrv_flags), so a number that somebody else took meanwhile is never
// mistaken for ours, nor the device of another volume of the same name: one of another state directory, or one that was deleted.
// Requests that wait in that one are that volume's.

using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Polyblk.Core.Block;

namespace Polyblk.Frontends.Ublk;

/// <summary>The record of an export.</summary>
/// <param name="ExportId">The export's id.</param>
/// <param name="VolumeName">The volume's name.</param>
/// <param name="VolumeUuid">The volume's UUID; empty when it has none.</param>
/// <param name="Device">The device's number.</param>
/// <param name="TakeOverBegun">
/// Whether a successor was handing its queues to the driver when this was written: see <see
/// cref="UblkDeviceFinder.PrepareRecoveryAsync"/>.
/// </param>
internal sealed record UblkState(string ExportId, string VolumeName, Guid VolumeUuid, uint Device, bool TakeOverBegun = false)
{
    /// <summary>The mark that the device carries.</summary>
    public ulong Mark => UblkStateStore.MarkOf(ExportId, VolumeUuid);
}

[JsonSourceGenerationOptions(WriteIndented = true)]
[JsonSerializable(typeof(UblkState))]
internal sealed partial class UblkStateJson : JsonSerializerContext;

/// <summary>Reads and writes the records of one state directory.</summary>
internal sealed class UblkStateStore(string stateDirectory)
{
    private const ulong MarkMagic = 0x7062ul << 48;

    private readonly string _directory = Path.Combine(stateDirectory, "ublk");

    /// <summary>
    /// A number that tells an export's device from all others: 16 bits say polyblk, 48 are a hash of the id and the volume's
    /// UUID. Volumes without a UUID (<see cref="Guid.Empty"/>) cannot be told apart by it.
    /// </summary>
    public static ulong MarkOf(string exportId, Guid volumeUuid) => MarkMagic | (Hash($"{volumeUuid:N} {exportId}") >> 16);

    /// <summary>Whether a mark was made by <see cref="MarkOf"/>.</summary>
    public static bool IsMark(ulong mark) => mark >> 48 == MarkMagic >> 48;

    /// <summary>The record of an export, or null when there is none or it cannot be understood.</summary>
    public UblkState? Load(string exportId) => Read(PathOf(exportId));

    /// <summary>All records.</summary>
    public IReadOnlyList<UblkState> LoadAll() => Directory.Exists(_directory)
        ? [.. Directory.EnumerateFiles(_directory, "*.json").Order(StringComparer.Ordinal).Select(Read).OfType<UblkState>()]
        : [];

    /// <summary>Writes a record.</summary>
    /// <exception cref="FrontendException">The directory cannot be written.</exception>
    public void Save(UblkState state)
    {
        string path = PathOf(state.ExportId);
        try
        {
            Directory.CreateDirectory(_directory);

            // Made anew: whatever lies there under this name is no file that this process may write to.
            File.Delete(path + ".new");
            using (var file = new FileStream(path + ".new", FileMode.CreateNew, FileAccess.Write))
            {
                JsonSerializer.Serialize(file, state, UblkStateJson.Default.UblkState);
                file.Flush(flushToDisk: true);
            }

            File.Move(path + ".new", path, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new FrontendException($"The state of the ublk export cannot be kept in {_directory}: {e.Message}", e);
        }
    }

    /// <summary>Deletes a record, if there is one.</summary>
    public void Delete(string exportId) => File.Delete(PathOf(exportId));

    private static ulong Hash(string text) => BitConverter.ToUInt64(Sha256.Hash(Encoding.UTF8.GetBytes(text)));

    private static UblkState? Read(string path)
    {
        try
        {
            return JsonSerializer.Deserialize(File.ReadAllBytes(path), UblkStateJson.Default.UblkState);
        }
        catch (Exception e) when (e is IOException or JsonException or UnauthorizedAccessException)
        {
            // Without the record the device is still found by its mark.
            return null;
        }
    }

    private string PathOf(string exportId)
    {
        string readable = string.Concat(exportId.Select(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.' ? c : '_'));
        return Path.Combine(_directory, $"{readable}-{(uint)Hash(exportId):x8}.json");
    }
}
