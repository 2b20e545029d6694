using Polyblk.Host.Model;

namespace Polyblk.Api;

/// <summary>The volumes of a host.</summary>
/// <param name="Volumes">Those whose records can be read.</param>
/// <param name="Problems">What is wrong with the others: a sentence each.</param>
public sealed record HostVolumesJson(IReadOnlyList<VolumeJson> Volumes, IReadOnlyList<string> Problems);
