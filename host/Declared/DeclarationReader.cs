// From a document to a declaration: every key is known, every value is one that its key takes. What this host has is not looked
// at here, but its frontends and groups.

using System.Globalization;
using Polyblk.Core.Block;
using Polyblk.Drives;
using Polyblk.Frontends;
using Polyblk.Host.Daemon;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;
using Polyblk.Raid.Layout;

namespace Polyblk.Host.Declared;

/// <summary>Reads declarations.</summary>
public sealed class DeclarationReader
{
    private static readonly string[] s_volumeKeys =
    [
        Keys.Level, Keys.Groups, Keys.Chunk, Keys.Size, Keys.Drives, Keys.Spares, Keys.Consistency, Keys.Checksums,
        Keys.RebuildRate,
        Keys.CheckEvery,
        Keys.SlowRead, Keys.DriveTimeout,
        Keys.Autostart, Keys.SpareGroup, Keys.Isolate, Keys.Exports,
    ];

    private static readonly string[] s_exportKeys =
    [
        Keys.Frontend, Keys.Socket, Keys.SocketGroup, Keys.SocketMode, Keys.AllowUser, Keys.Queues, Keys.QueueSize, Keys.ReadOnly,
        Keys.Serial,
    ];

    private readonly IReadOnlyList<IFrontend> _frontends;
    private readonly Problems _problems;

    private DeclarationReader(IReadOnlyList<IFrontend> frontends, Problems problems) =>
        (_frontends, _problems) = (frontends, problems);

    /// <summary>Reads one.</summary>
    /// <param name="document">What it is called: its path.</param>
    /// <param name="content">UTF-8.</param>
    /// <param name="frontends">The frontends of this program.</param>
    /// <exception cref="RefusalException">Something is wrong; the message has a line for each thing, with its place.</exception>
    public static Declaration Read(string document, Stream content, IReadOnlyList<IFrontend> frontends)
    {
        ArgumentNullException.ThrowIfNull(content);
        var problems = new Problems(document);
        DeclaredNode root = DocumentParser.Parse(document, content)
            ?? throw RefusalException.Invalid($"{document} says nothing: it needs '{Keys.Volumes}:'.");
        IReadOnlyList<DeclaredVolume> volumes = new DeclarationReader(frontends, problems).Root(root);
        problems.Throw(RefusalKind.Invalid);
        return new Declaration(document, volumes);
    }

    private List<DeclaredVolume> Root(DeclaredNode root)
    {
        var volumes = new List<DeclaredVolume>();
        Dictionary<string, DeclaredNode> keys = KeysOf(root, string.Empty, [Keys.Volumes]);
        if (keys.TryGetValue(Keys.Volumes, out DeclaredNode? node))
        {
            foreach ((DeclaredText name, DeclaredNode volume) in AsMap(node, Keys.Volumes)?.Entries ?? [])
            {
                _ = _problems.Try(name.At, Keys.Volumes, () =>
                {
                    VolumeName.Check(name.Text);
                    return true;
                });
                volumes.Add(Volume(name, volume));
            }
        }
        else if (root is DeclaredMap)
        {
            _problems.Add(root.At, string.Empty, $"there is no '{Keys.Volumes}:'.");
        }

        return volumes;
    }

    private DeclaredVolume Volume(DeclaredText name, DeclaredNode node)
    {
        string path = $"{Keys.Volumes}.{name.Text}";
        Dictionary<string, DeclaredNode> keys = KeysOf(node, path, s_volumeKeys);
        return new DeclaredVolume(name.Text, name.At)
        {
            Level = Text(keys, path, Keys.Level, VolumeCreation.LevelWord),
            Groups = (int?)Number(
                keys, path, Keys.Groups, $"a number from {RaidLevels.MinGroups} to {RaidGeometry.MaxMembers}",
                text => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int groups)
                    && groups is >= RaidLevels.MinGroups and <= RaidGeometry.MaxMembers ? groups : null),
            ChunkBytes = Number(keys, path, Keys.Chunk, "a size with a unit, such as 64KiB", Size),
            SizeBytes = Number(keys, path, Keys.Size, "a size with a unit, such as 500GiB", Size),
            Drives = Texts(keys, path, Keys.Drives, Drive),
            Spares = Texts(keys, path, Keys.Spares, Drive),
            Consistency = Text(keys, path, Keys.Consistency, word => ConsistencyWord.TryParse(word, out _) ? word
                : throw RefusalException.Invalid($"takes {OneOf(ConsistencyWord.All)}, not '{word}'.")),
            Checksums = Switch(keys, path, Keys.Checksums),
            MaxRebuildBytesPerSecond = Number(
                keys, path, Keys.RebuildRate, "bytes a second with a unit, such as 100M, or 0 for no bound",
                text => text == "0" ? 0 : Size(text)),
            CheckEverySeconds = Number(
                keys, path, Keys.CheckEvery, "days or hours, such as 30d or 12h, or off",
                text => Duration.TryParse(text, out TimeSpan time) ? (long)time.TotalSeconds : null),
            Patience = new Patience(
                Seconds(keys, path, Keys.SlowRead, 1, Patience.MostSlowSeconds),
                Seconds(keys, path, Keys.DriveTimeout, 0, Patience.MostSeconds)),
            Autostart = Switch(keys, path, Keys.Autostart),
            SpareGroup = Text(keys, path, Keys.SpareGroup, VolumeSettings.CheckSpareGroup),
            Isolate = Switch(keys, path, Keys.Isolate),
            Exports = keys.TryGetValue(Keys.Exports, out DeclaredNode? exports) ? Exports(exports, $"{path}.{Keys.Exports}")
                : null,
            Places = keys.ToDictionary(k => k.Key, k => k.Value.At, StringComparer.Ordinal),
        };
    }

    private DeclaredExport[]? Exports(DeclaredNode node, string path) =>
        AsList(node, path)?.Items.Select((item, i) => Export(item, $"{path}[{i}]")).OfType<DeclaredExport>().ToArray();

    private DeclaredExport? Export(DeclaredNode node, string path)
    {
        DeclaredNode? named = (node as DeclaredMap)?.Entries.FirstOrDefault(e => e.Key.Text == Keys.Frontend).Value;
        IFrontend? frontend = named is DeclaredText text ? _frontends.FirstOrDefault(f => f.Name == text.Text) : null;
        string[] known = [.. s_exportKeys, .. frontend?.Options.Select(o => o.Name) ?? []];
        Dictionary<string, DeclaredNode> keys = KeysOf(node, path, known, isOpen: frontend is null);
        if (node is not DeclaredMap || frontend is null)
        {
            string[] names = [.. _frontends.Select(f => f.Name)];
            if (!keys.ContainsKey(Keys.Frontend) && node is DeclaredMap)
            {
                _problems.Add(node.At, path, $"needs a '{Keys.Frontend}': {OneOf(names)}.");
            }

            _ = Text(keys, path, Keys.Frontend, name => throw RefusalException.Invalid(
                $"there is no frontend '{name}'.{Meant(name, names)} There are: {string.Join(", ", names)}."));
            return null;
        }

        var options = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (FrontendOption option in frontend.Options)
        {
            string? value = option.ValueHint is not null ? Text(keys, path, option.Name, v => v)
                : Switch(keys, path, option.Name) is true ? "true" : null;
            if (value is not null)
            {
                options.Add(option.Name, value);
            }
        }

        var group = new FrontendGroup
        {
            Frontend = frontend.Name,
            SocketPath = Text(keys, path, Keys.Socket, p => p),
            SocketAccess = _problems.Try(
                node.At, path,
                () => SocketAccess.Parse(
                    Text(keys, path, Keys.SocketGroup, g => g),
                    Text(keys, path, Keys.SocketMode, m => m),
                    Texts(keys, path, Keys.AllowUser, u => u))),
            Queues = (int?)Number(keys, path, Keys.Queues, $"a number from 1 to {ExportCheck.MaxQueues}", Count),
            QueueSize = (int?)Number(keys, path, Keys.QueueSize, $"a power of two up to {ExportCheck.MaxQueueSize}", Count),
            ReadOnly = Switch(keys, path, Keys.ReadOnly) ?? false,
            Serial = Text(keys, path, Keys.Serial, s => s),
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
    private Dictionary<string, DeclaredNode> KeysOf(
        DeclaredNode node, string path, IReadOnlyList<string> known, bool isOpen = false)
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
                string all = string.Join(", ", known);
                _problems.Add(key.At, path, $"there is no key '{key.Text}'.{Meant(key.Text, known)} There are: {all}.");
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

    private string[]? Texts(Dictionary<string, DeclaredNode> keys, string path, string key, Func<string, string> check)
    {
        path = $"{path}.{key}";
        return !keys.TryGetValue(key, out DeclaredNode? node) ? null
            : AsList(node, path)?.Items.Select((item, i) => One(item, $"{path}[{i}]", check)).OfType<string>().ToArray();
    }

    private string? One(DeclaredNode node, string path, Func<string, string> check)
    {
        if (node is not DeclaredText { IsNull: false } text || text.Text.Length == 0 || text.Text.Any(char.IsControl))
        {
            string what = node is DeclaredText { Text.Length: 0 } ? "nothing" : node.What;
            _problems.Add(node.At, path, $"takes a word, not {what}.");
            return null;
        }

        return _problems.Try(node.At, path, () => check(text.Text));
    }

    private int? Seconds(Dictionary<string, DeclaredNode> keys, string path, string key, int least, int most) => (int?)Number(
        keys, path, key, string.Create(CultureInfo.InvariantCulture, $"seconds from {least} to {most}"),
        text => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int time) && time >= least && time <= most
            ? time : null);

    private long? Number(
        Dictionary<string, DeclaredNode> keys, string path, string key, string expected, Func<string, long?> parse)
    {
        if (!keys.TryGetValue(key, out DeclaredNode? node))
        {
            return null;
        }

        if (node is DeclaredText { IsPlain: true, IsNull: false } text && parse(text.Text) is long value)
        {
            return value;
        }

        string quotes = node is DeclaredText { IsPlain: false } ? " in quotes" : string.Empty;
        _problems.Add(node.At, $"{path}.{key}", $"takes {expected}, not {node.What}{quotes}.");
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

    private static long? Count(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int count) && count > 0 ? count : null;

    /// <summary>Where a document is read is nothing that it should depend on.</summary>
    private static string Drive(string text)
    {
        DriveSpec spec = DriveList.ParseOne(text);
        return spec.IsVolatile || Path.IsPathRooted(spec.Path) ? text
            : throw RefusalException.Invalid($"'{text}' is relative: write the whole path.");
    }

    private static string Meant(string text, IEnumerable<string> known) =>
        Suggestion.Nearest(text, known) is string near ? $" Did you mean '{near}'?" : string.Empty;

    private static string OneOf(IReadOnlyList<string> words) => $"{string.Join(", ", words.SkipLast(1))} or {words[^1]}";
}
