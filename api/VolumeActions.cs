// What the API does with a volume that is served: each is a route, and the request that a command sends to the volume's control
// socket. Both ways of the translation are here: the API's from a body to the request, and the client's back.

using System.Net.Http.Json;
using System.Text.Json.Serialization.Metadata;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.Volumes;

namespace Polyblk.Api;

/// <summary>For how long.</summary>
internal sealed record PauseBody
{
    /// <summary>After how many seconds it goes on by itself.</summary>
    public required int Seconds { get; init; }
}

/// <summary>Which size.</summary>
internal sealed record ResizeBody
{
    /// <summary>In bytes; left out: all that the drives give.</summary>
    public long? SizeBytes { get; init; }

    /// <summary>Also to a smaller size.</summary>
    public bool Force { get; init; }
}

/// <summary>Which drive, by its whole path, or the number of the member.</summary>
internal sealed record MemberBody
{
    /// <summary>The drive.</summary>
    public required string Drive { get; init; }
}

/// <summary>Which drive comes.</summary>
internal sealed record SpareBody
{
    /// <summary>The drive, by its whole path.</summary>
    public required string Drive { get; init; }

    /// <summary>Overwrite whatever it holds.</summary>
    public bool Force { get; init; }
}

/// <summary>Which drive goes, and which comes.</summary>
internal sealed record ReplaceBody
{
    /// <summary>The drive that goes, by its whole path, or the number of the member.</summary>
    public required string Drive { get; init; }

    /// <summary>The drive that comes, by its whole path.</summary>
    public required string NewDrive { get; init; }

    /// <summary>Overwrite whatever it holds.</summary>
    public bool Force { get; init; }

    /// <summary>Take one that works out first.</summary>
    public bool FailFirst { get; init; }
}

/// <summary>Which drives become members, which level the volume gets, or both.</summary>
internal sealed record ReshapeBody
{
    /// <summary>The drives, by their whole paths.</summary>
    public IReadOnlyList<string> Drives { get; init; } = [];

    /// <summary>The level, such as raid6, or a shape, such as 8+3; left out, it stays.</summary>
    public string? Level { get; init; }

    /// <summary>Overwrite whatever they hold.</summary>
    public bool Force { get; init; }
}

/// <summary>What became of it.</summary>
internal sealed record VolumeChangedJson
{
    /// <summary>What was done, of a change of members: in sentences.</summary>
    public string? Message { get; init; }

    /// <summary>The member that such a change was about.</summary>
    public int? Role { get; init; }

    /// <summary>The volume, as it is now.</summary>
    public LiveJson? Live { get; init; }
}

/// <summary>See the top of the file.</summary>
internal static class VolumeActions
{
    /// <summary>Their routes.</summary>
    public static IEnumerable<ApiRoute> Routes { get; } =
    [
        Make("pause", "pauseVolume", "Have its consumers wait, with nothing in flight.", ApiBodyJson.Default.PauseBody,
            body => new() { Command = "pause", Seconds = body.Seconds }),
        Make("resume", "resumeVolume", "Let them go on."),
        Make("check", "checkVolume", "Compare the members of the array in the background."),
        Make("repair", "repairVolume", "The same, and make them agree."),
        Make("stop-check", "stopCheckOfVolume", "End that."),
        Make("acknowledge", "acknowledgeDamage", "Let the warning go that blocks may be damaged."),
        Make("resize", "resizeVolume", "Another size; its consumers are told.", ApiBodyJson.Default.ResizeBody,
            body => new() { Command = "resize", SizeBytes = body.SizeBytes, Force = body.Force }),
        Make("grow", "growVolume", "Take over what all drives have more now."),
        Make("reshape", "reshapeVolume", "Drives become further members, or the level changes.", ApiBodyJson.Default.ReshapeBody,
            Reshape),
        Make("fail", "failMember", "Take a member out of use.", ApiBodyJson.Default.MemberBody,
            body => new() { Command = "fail", Drive = WholePath.CheckMember(body.Drive) }),
        Make("replace", "replaceMember", "Let a drive take the place of a member.", ApiBodyJson.Default.ReplaceBody, body => new()
        {
            Command = "replace", Drive = WholePath.CheckMember(body.Drive), NewDrive = WholePath.Check(body.NewDrive),
            Force = body.Force, FailFirst = body.FailFirst,
        }),
        Make("add-spare", "addSpare", "Let a drive wait for a member to fail.", ApiBodyJson.Default.SpareBody,
            body => new() { Command = "add-spare", Drive = WholePath.Check(body.Drive), Force = body.Force }),
        Make(
            "remove", "removeDrive", "Let go of a spare, or of the drive of a member that is out.", ApiBodyJson.Default.MemberBody,
            body => new() { Command = "remove", Drive = WholePath.CheckMember(body.Drive) }),
    ];

    /// <summary>Where a client sends a request to.</summary>
    public static string PathOf(string volume, ControlRequest request) =>
        $"/v1/volumes/{Uri.EscapeDataString(volume)}/{request.Command}";

    /// <summary>What it sends there; null where nothing more is to be said.</summary>
    public static HttpContent? BodyOf(ControlRequest request) => request.Command switch
    {
        "pause" => Content(new PauseBody { Seconds = request.Seconds ?? 0 }, ApiBodyJson.Default.PauseBody),
        "resize" => Content(
            new ResizeBody { SizeBytes = request.SizeBytes, Force = request.Force }, ApiBodyJson.Default.ResizeBody),
        "fail" or "remove" => Content(new MemberBody { Drive = request.Drive! }, ApiBodyJson.Default.MemberBody),
        "add-spare" => Content(new SpareBody { Drive = request.Drive!, Force = request.Force }, ApiBodyJson.Default.SpareBody),
        "replace" => Content(
            new ReplaceBody
            {
                Drive = request.Drive!, NewDrive = request.NewDrive!, Force = request.Force, FailFirst = request.FailFirst,
            },
            ApiBodyJson.Default.ReplaceBody),
        "reshape" => Content(
            new ReshapeBody
            {
                Drives = [.. request.MoreDrives.Prepend(request.Drive).OfType<string>().Where(drive => drive.Length != 0)],
                Level = request.Level,
                Force = request.Force,
            },
            ApiBodyJson.Default.ReshapeBody),
        _ => null,
    };

    private static JsonContent Content<T>(T body, JsonTypeInfo<T> type) => JsonContent.Create(body, type);

    private static ControlRequest Reshape(ReshapeBody body) => body is { Drives.Count: 0, Level: null }
        ? throw RefusalException.Invalid(
            "'drives' is empty, and there is no 'level'.",
            "Name the drives that become members, the level that the volume gets, or both.")
        : new ControlRequest
        {
            Command = "reshape",
            Drive = body.Drives.Count == 0 ? string.Empty : WholePath.Check(body.Drives[0]),
            MoreDrives = [.. body.Drives.Skip(1).Select(WholePath.Check)],
            Level = body.Level is string level ? VolumeCreation.LevelWord(level) : null,
            Force = body.Force,
        };

    private static ApiRoute Make(string word, string id, string summary) => new(
        "POST", Path(word), id, summary, (api, context, path) => api.AskVolumeAsync(context, path[0], new() { Command = word }))
    {
        Answers = ApiRoutes.One(ApiJson.Default.VolumeChangedJson),
    };

    private static ApiRoute Make<T>(string word, string id, string summary, JsonTypeInfo<T> body, Func<T, ControlRequest> request)
        where T : class => new("POST", Path(word), id, summary, async (api, context, path) =>
        {
            T its = await ApiServer.ReadAsync(context, body).ConfigureAwait(false);
            await api.AskVolumeAsync(context, path[0], request(its)).ConfigureAwait(false);
        })
        {
            Body = body, Answers = ApiRoutes.One(ApiJson.Default.VolumeChangedJson),
        };

    private static string Path(string word) => $"/v1/volumes/{{name}}/{word}";
}
