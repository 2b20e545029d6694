// What --json prints besides what the host says of its volumes. These names are documented in docs/cli.md and stay.

using System.Text.Json.Serialization;
using Polyblk.Host.Declared;
using Polyblk.Host.Model;

namespace Polyblk.Cli.Output;

/// <summary>What a frontend says about this host.</summary>
internal sealed record ProbeJson(
    string Frontend, string Description, bool Available, string Summary, IReadOnlyList<string> Remedies, IReadOnlyDictionary<string, string> Facts);

/// <summary>A ublk device of this host, for <c>ublk list</c>.</summary>
internal sealed record UblkDeviceJson
{
    /// <summary>N of /dev/ublkbN.</summary>
    public required uint Number { get; init; }

    public required string Path { get; init; }

    /// <summary><c>live</c>, <c>quiesced</c>, <c>fail-io</c> or <c>dead</c>.</summary>
    public required string State { get; init; }

    public int ServerPid { get; init; }

    public bool ServerAlive { get; init; }

    /// <summary>Whether polyblk made it.</summary>
    public bool IsOurs { get; init; }

    /// <summary>Whether nobody serves it any more.</summary>
    public bool IsOrphan { get; init; }

    public string? Volume { get; init; }

    public string? ExportId { get; init; }

    public long SizeBytes { get; init; }

    public IReadOnlyList<string> Users { get; init; } = [];
}

/// <summary>Indented, for people and programs.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ApplyJson))]
[JsonSerializable(typeof(VolumeJson))]
[JsonSerializable(typeof(IReadOnlyList<VolumeJson>))]
[JsonSerializable(typeof(IReadOnlyList<ExportJson>))]
[JsonSerializable(typeof(IReadOnlyList<DaemonExportJson>))]
[JsonSerializable(typeof(IReadOnlyList<ProbeJson>))]
[JsonSerializable(typeof(IReadOnlyList<UblkDeviceJson>))]
internal sealed partial class OutputJson : JsonSerializerContext;
