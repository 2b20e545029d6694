// From a document to a declaration: every key is known, every value is one that its key takes. What this host has is not looked
// at here, but its frontends and groups.

using Polyblk.Core.Block;
using Polyblk.Frontends;
using Polyblk.Host.Daemon;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Host.Declared;

/// <summary>Reads declarations.</summary>
public sealed class DeclarationReader
{
    internal const string VolumesKey = "volumes", LevelKey = "level", ChunkKey = "chunk", SizeKey = "size", DrivesKey = "drives", SparesKey = "spares",
        ConsistencyKey = "consistency", RebuildRateKey = "rebuild-rate", CheckEveryKey = "check-every", AutostartKey = "autostart", IsolateKey = "isolate", ExportsKey = "exports",
        FrontendKey = "frontend", SocketKey = "socket", SocketGroupKey = "socket-group", SocketModeKey = "socket-mode", AllowUserKey = "allow-user", QueuesKey = "queues",
        QueueSizeKey = "queue-size", ReadOnlyKey = "read-only", SerialKey = "serial";

    private static readonly string[] s_volumeKeys =
        [LevelKey, ChunkKey, SizeKey, DrivesKey, SparesKey, ConsistencyKey, RebuildRateKey, CheckEveryKey, AutostartKey, IsolateKey, ExportsKey];

    private static readonly string[] s_exportKeys =
        [FrontendKey, SocketKey, SocketGroupKey, SocketModeKey, AllowUserKey, QueuesKey, QueueSizeKey, ReadOnlyKey, SerialKey];

    private readonly IReadOnlyList<IFrontend> _frontends;
    private readonly Problems _problems;

    private DeclarationReader(IReadOnlyList<IFrontend> frontends, Problems problems) => (_frontends, _problems) = (frontends, problems);

    /// <summary>Reads one.</summary>
    /// <param name="document">What it is called: its path.</param>
    /// <param name="content">UTF-8.</param>
    /// <param name="frontends">The frontends of this program.</param>
    /// <exception cref="RefusalException">Something is wrong; the message has a line for each thing, with its place.</exception>
    public static Declaration Read(string document, Stream content, IReadOnlyList<IFrontend> frontends)
    {
        ArgumentNullException.ThrowIfNull(content);
        var problems = new Problems(document);
        DeclaredNode root = DocumentParser.Parse(document, content) ?? throw RefusalException.Invalid($"{document} says nothing: it needs '{VolumesKey}:'.");
        IReadOnlyList<DeclaredVolume> volumes = new DeclarationReader(frontends, problems).Root(root);
        problems.Throw(RefusalKind.Invalid);
        return new Declaration(document, volumes);
    }

    private List<DeclaredVolume> Root(DeclaredNode root)
    {
        var volumes = new List<DeclaredVolume>();
        Dictionary<string, DeclaredNode> keys = Keys(root, string.Empty, [VolumesKey]);
        if (keys.TryGetValue(VolumesKey, out DeclaredNode? node))
        {
            foreach ((DeclaredText name, DeclaredNode volume) in AsMap(node, VolumesKey)?.Entries ?? [])
            {
                _ = _problems.Try(name.At, VolumesKey, () =>
                {
                    VolumeName.Check(name.Text);
                    return true;
                });
                volumes.Add(Volume(name, volume));
            }
        }
        else if (root is DeclaredMap)
        {
            _problems.Add(root.At, string.Empty, $"there is no '{VolumesKey}:'.");
        }

        return volumes;
    }

    private DeclaredVolume Volume(DeclaredText name, DeclaredNode node)
    {
        string path = $"{VolumesKey}.{name.Text}";
        Dictionary<string, DeclaredNode> keys = Keys(node, path, s_volumeKeys);
        return new DeclaredVolume(name.Text, name.At)
        {
            Level = Text(keys, path, LevelKey, VolumeCreation.LevelName),
            ChunkBytes = Number(keys, path, ChunkKey, "a size with a unit, such as 64KiB", Size),
            SizeBytes = Number(keys, path, SizeKey, "a size with a unit, such as 500GiB", Size),
            Drives = Texts(keys, path, DrivesKey, Drive),
            Spares = Texts(keys, path, SparesKey, Drive),
            Consistency = Text(keys, path, ConsistencyKey, word => ConsistencyWord.TryParse(word, out _) ? word
                : throw RefusalException.Invalid($"takes {OneOf(ConsistencyWord.All)}, not '{word}'.")),
            MaxRebuildBytesPerSecond = Number(
                keys, path, RebuildRateKey, "bytes a second with a unit, such as 100M, or 0 for no bound", text => text == "0" ? 0 : Size(text)),
            CheckEverySeconds = Number(
                keys, path, CheckEveryKey, "days or hours, such as 30d or 12h, or off", text => Duration.TryParse(text, out TimeSpan time) ? (long)time.TotalSeconds : null),
            Autostart = Switch(keys, path, AutostartKey),
            Isolate = Switch(keys, path, IsolateKey),
            Exports = keys.TryGetValue(ExportsKey, out DeclaredNode? exports)
                ? AsList(exports, $"{path}.{ExportsKey}")?.Items.Select((e, i) => Export(e, $"{path}.{ExportsKey}[{i}]")).OfType<DeclaredExport>().ToArray()
                : null,
            Keys = keys.ToDictionary(k => k.Key, k => k.Value.At, StringComparer.Ordinal),
        };
    }

    private DeclaredExport? Export(DeclaredNode node, string path)
    {
        IFrontend? frontend = (node as DeclaredMap)?.Entries.FirstOrDefault(e => e.Key.Text == FrontendKey).Value is DeclaredText text
            ? _frontends.FirstOrDefault(f => f.Name == text.Text) : null;
        Dictionary<string, DeclaredNode> keys = Keys(node, path, [.. s_exportKeys, .. frontend?.Options.Select(o => o.Name) ?? []], isOpen: frontend is null);
        if (node is not DeclaredMap || frontend is null)
        {
            string[] names = [.. _frontends.Select(f => f.Name)];
            if (!keys.ContainsKey(FrontendKey) && node is DeclaredMap)
            {
                _problems.Add(node.At, path, $"needs a '{FrontendKey}': {OneOf(names)}.");
            }

            _ = Text(keys, path, FrontendKey, name => throw RefusalException.Invalid($"there is no frontend '{name}'.{Meant(name, names)} There are: {string.Join(", ", names)}."));
            return null;
        }

        var options = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (FrontendOption option in frontend.Options)
        {
            string? value = option.ValueHint is null ? Switch(keys, path, option.Name) is true ? "true" : null : Text(keys, path, option.Name, v => v);
            if (value is not null)
            {
                options.Add(option.Name, value);
            }
        }

        var group = new FrontendGroup
        {
            Frontend = frontend.Name,
            SocketPath = Text(keys, path, SocketKey, p => p),
            SocketAccess = _problems.Try(
                node.At, path,
                () => SocketAccess.Parse(
                    Text(keys, path, SocketGroupKey, g => g), Text(keys, path, SocketModeKey, m => m), Texts(keys, path, AllowUserKey, u => u))),
            Queues = (int?)Number(keys, path, QueuesKey, $"a number from 1 to {ExportCheck.MaxQueues}", Count),
            QueueSize = (int?)Number(keys, path, QueueSizeKey, $"a power of two up to {ExportCheck.MaxQueueSize}", Count),
            ReadOnly = Switch(keys, path, ReadOnlyKey) ?? false,
            Serial = Text(keys, path, SerialKey, s => s),
            Options = options,
        };
        ExportRecord wanted = ExportRecord.Of(group);
        _ = _problems.Try(node.At, path, () =>
        {
            ExportCheck.Check(wanted, _frontends);
            return true;
        });
        return new DeclaredExport(wanted, node.At);
    }

    /// <summary>The keys of a part that are known; the others are told.</summary>
    private Dictionary<string, DeclaredNode> Keys(DeclaredNode node, string path, IReadOnlyList<string> known, bool isOpen = false)
    {
        var keys = new Dictionary<string, DeclaredNode>(StringComparer.Ordinal);
        foreach ((DeclaredText key, DeclaredNode value) in AsMap(node, path)?.Entries ?? [])
        {
            if (known.Contains(key.Text))
            {
                keys.Add(key.Text, value);
            }
            else if (!isOpen)
            {
                _problems.Add(key.At, path, $"there is no key '{key.Text}'.{Meant(key.Text, known)} There are: {string.Join(", ", known)}.");
            }
        }

        return keys;
    }

    private DeclaredMap? AsMap(DeclaredNode node, string path) => As<DeclaredMap>(node, path, "keys and values");

    private DeclaredList? AsList(DeclaredNode node, string path) => As<DeclaredList>(node, path, "a list");

    private T? As<T>(DeclaredNode node, string path, string expected)
        where T : DeclaredNode
    {
        if (node is not T)
        {
            _problems.Add(node.At, path, $"takes {expected}, not {node.What}.");
        }

        return node as T;
    }

    private string? Text(Dictionary<string, DeclaredNode> keys, string path, string key, Func<string, string> check) =>
        keys.TryGetValue(key, out DeclaredNode? node) ? One(node, $"{path}.{key}", check) : null;

    private string[]? Texts(Dictionary<string, DeclaredNode> keys, string path, string key, Func<string, string> check) =>
        !keys.TryGetValue(key, out DeclaredNode? node) ? null
        : AsList(node, $"{path}.{key}")?.Items.Select((item, i) => One(item, $"{path}.{key}[{i}]", check)).OfType<string>().ToArray();

    private string? One(DeclaredNode node, string path, Func<string, string> check)
    {
        if (node is not DeclaredText { IsNull: false } text || text.Text.Length == 0 || text.Text.Any(char.IsControl))
        {
            _problems.Add(node.At, path, $"takes a word, not {(node is DeclaredText { Text.Length: 0 } ? "nothing" : node.What)}.");
            return null;
        }

        return _problems.Try(node.At, path, () => check(text.Text));
    }

    private long? Number(Dictionary<string, DeclaredNode> keys, string path, string key, string expected, Func<string, long?> parse)
    {
        if (!keys.TryGetValue(key, out DeclaredNode? node))
        {
            return null;
        }

        if (node is DeclaredText { IsPlain: true, IsNull: false } text && parse(text.Text) is long value)
        {
            return value;
        }

        _problems.Add(node.At, $"{path}.{key}", $"takes {expected}, not {node.What}{(node is DeclaredText { IsPlain: false } ? " in quotes" : string.Empty)}.");
        return null;
    }

    private bool? Switch(Dictionary<string, DeclaredNode> keys, string path, string key)
    {
        if (!keys.TryGetValue(key, out DeclaredNode? node))
        {
            return null;
        }

        switch (node)
        {
            case DeclaredText { IsPlain: true, Text: "true" }:
                return true;
            case DeclaredText { IsPlain: true, Text: "false" }:
                return false;
            default:
                _problems.Add(node.At, $"{path}.{key}", $"takes true or false, not {node.What}.");
                return null;
        }
    }

    private static long? Size(string text) => ByteSize.TryParse(text, out long bytes) && bytes > 0 ? bytes : null;

    private static long? Count(string text) => int.TryParse(text, System.Globalization.NumberStyles.None, null, out int count) && count > 0 ? count : null;

    /// <summary>Where a document is read is nothing that it should depend on.</summary>
    private static string Drive(string text)
    {
        Polyblk.Drives.DriveSpec spec = DriveList.ParseOne(text);
        return spec.IsVolatile || Path.IsPathRooted(spec.Path) ? text : throw RefusalException.Invalid($"'{text}' is relative: write the whole path.");
    }

    private static string Meant(string text, IEnumerable<string> known) => Suggestion.Nearest(text, known) is string near ? $" Did you mean '{near}'?" : string.Empty;

    private static string OneOf(IReadOnlyList<string> words) => $"{string.Join(", ", words.SkipLast(1))} or {words[^1]}";
}
