using System.Text.Json.Serialization;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Api;

/// <summary>A refusal, as RFC 9457 names its parts; the last two are ours.</summary>
/// <param name="Status">The HTTP status.</param>
/// <param name="Title">What is wrong.</param>
internal sealed record ProblemJson(int Status, string Title)
{
    /// <summary>Of what kind it is: what a program decides by.</summary>
    public required RefusalKind Kind { get; init; }

    /// <summary>What to do; null where the title says it.</summary>
    public string? Remedy { get; init; }
}

/// <summary>What the API answers. A client takes what it does not know for nothing: a newer daemon may say more.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    RespectNullableAnnotations = true)]
[JsonSerializable(typeof(DaemonJson))]
[JsonSerializable(typeof(IReadOnlyList<DaemonVolumeJson>))]
[JsonSerializable(typeof(IReadOnlyList<DaemonExportJson>))]
[JsonSerializable(typeof(DaemonVolumeJson))]
[JsonSerializable(typeof(LiveJson))]
[JsonSerializable(typeof(ExportJson))]
[JsonSerializable(typeof(ProblemJson))]
[JsonSerializable(typeof(StatisticsJson))]
[JsonSerializable(typeof(VolumeJson))]
[JsonSerializable(typeof(HostVolumesJson))]
[JsonSerializable(typeof(CreatedJson))]
[JsonSerializable(typeof(SettingsChange))]
[JsonSerializable(typeof(VolumeChangedJson))]
internal sealed partial class ApiJson : JsonSerializerContext;

/// <summary>What is sent to the API: a name that it does not know is refused, since it would count as nothing.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    RespectNullableAnnotations = true, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(ExportRecord))]
[JsonSerializable(typeof(StartPermissions))]
[JsonSerializable(typeof(CreateBody))]
[JsonSerializable(typeof(SettingsChange))]
[JsonSerializable(typeof(PauseBody))]
[JsonSerializable(typeof(ResizeBody))]
[JsonSerializable(typeof(MemberBody))]
[JsonSerializable(typeof(SpareBody))]
[JsonSerializable(typeof(ReplaceBody))]
[JsonSerializable(typeof(ReshapeBody))]
internal sealed partial class ApiBodyJson : JsonSerializerContext;
