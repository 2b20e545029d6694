using System.Globalization;
using Polyblk.Core.Block;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace Polyblk.Host.Declared;

/// <summary>Writes what a host has as a declaration of it.</summary>
public sealed class DeclarationWriter
{
    private readonly Emitter _emitter;

    private DeclarationWriter(TextWriter output) =>
        _emitter = new Emitter(output, new EmitterSettings().WithMaxSimpleKeyLength(128));

    /// <summary>Writes one that changes nothing where it is applied.</summary>
    /// <param name="output">Where to.</param>
    /// <param name="records">The volumes.</param>
    public static void Write(TextWriter output, IReadOnlyList<VolumeRecord> records)
    {
        ArgumentNullException.ThrowIfNull(records);
        new DeclarationWriter(output).Write(records);
    }

    /// <summary>A bound, as a declaration has it.</summary>
    internal static string Rate(long? bytesPerSecond) =>
        bytesPerSecond is null or 0 ? "0" : ByteSize.Format(bytesPerSecond.Value);

    /// <summary>Yes or no, as a declaration has it.</summary>
    internal static string Switch(bool isOn) => isOn ? "true" : "false";

    private void Write(IReadOnlyList<VolumeRecord> records)
    {
        _emitter.Emit(new StreamStart());
        _emitter.Emit(new DocumentStart(null, null, isImplicit: true));
        Map(() =>
        {
            Text(Keys.Volumes);
            Map(() =>
            {
                foreach (VolumeRecord record in records)
                {
                    Text(record.Name);
                    Map(() => Volume(record));
                }
            });
        });
        _emitter.Emit(new DocumentEnd(isImplicit: true));
        _emitter.Emit(new StreamEnd());
    }

    private void Volume(VolumeRecord record)
    {
        Pair(Keys.Level, record.Level);
        Pair(Keys.Groups, record.Groups?.ToString(CultureInfo.InvariantCulture));
        Pair(Keys.Chunk, record.ChunkBytes == 0 ? null : ByteSize.Format(record.ChunkBytes));
        bool hasSpares = record.Members is not null && record.Drives.Count > record.Members.Count;
        ILookup<bool, string> drives = record.Drives.ToLookup(d => !hasSpares || record.Members!.Any(m => m.Drive == d));
        List(Keys.Drives, drives[true], Text);
        if (hasSpares)
        {
            List(Keys.Spares, drives[false], Text);
        }

        Pair(Keys.RebuildRate, record.MaxRebuildBytesPerSecond is long rate ? Rate(rate) : null);
        Pair(Keys.CheckEvery, record.CheckEverySeconds is long seconds ? Duration.Format(TimeSpan.FromSeconds(seconds)) : null);
        Pair(Keys.SlowRead, record.SlowReadSeconds?.ToString(CultureInfo.InvariantCulture));
        Pair(Keys.DriveTimeout, record.DriveTimeoutSeconds?.ToString(CultureInfo.InvariantCulture));
        Pair(Keys.Autostart, record.Autostart is bool starts ? Switch(starts) : null);
        Pair(Keys.SpareGroup, record.SpareGroup);
        Pair(Keys.Isolate, record.Isolate is bool alone ? Switch(alone) : null);
        if (record.Exports is { Count: > 0 } exports)
        {
            List(Keys.Exports, exports, export => Map(() => Export(export)));
        }
    }

    private void Export(ExportRecord export)
    {
        Pair(Keys.Frontend, export.Frontend);
        Pair(Keys.Socket, export.SocketPath);
        Pair(Keys.SocketGroup, export.SocketGroup);
        Pair(Keys.SocketMode, export.SocketMode);
        if (export.AllowUsers is { Count: > 0 } users)
        {
            List(Keys.AllowUser, users, Text);
        }

        Pair(Keys.Queues, export.Queues?.ToString(CultureInfo.InvariantCulture));
        Pair(Keys.QueueSize, export.QueueSize?.ToString(CultureInfo.InvariantCulture));
        Pair(Keys.ReadOnly, export.ReadOnly ? Switch(true) : null);
        Pair(Keys.Serial, export.Serial);
        foreach ((string name, string value) in export.Options.OrderBy(o => o.Key, StringComparer.Ordinal))
        {
            Pair(name, value);
        }
    }

    private void Map(Action content)
    {
        _emitter.Emit(new MappingStart());
        content();
        _emitter.Emit(new MappingEnd());
    }

    private void List<T>(string key, IEnumerable<T> items, Action<T> write)
    {
        Text(key);
        _emitter.Emit(new SequenceStart(AnchorName.Empty, TagName.Empty, isImplicit: true, SequenceStyle.Block));
        foreach (T item in items)
        {
            write(item);
        }

        _emitter.Emit(new SequenceEnd());
    }

    private void Pair(string key, string? value)
    {
        if (value is not null)
        {
            Text(key);
            Text(value);
        }
    }

    /// <summary>Plain where it means itself.</summary>
    private void Text(string text)
    {
        ScalarStyle style = new DeclaredText(default, text, IsPlain: true).IsNull ? ScalarStyle.DoubleQuoted : ScalarStyle.Any;
        _emitter.Emit(new Scalar(AnchorName.Empty, TagName.Empty, text, style, isPlainImplicit: true, isQuotedImplicit: true));
    }
}
