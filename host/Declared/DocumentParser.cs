// YAML, as far as a declaration needs it: one document of keys, lists and values.
//
// The events of the library's parser are taken, and no more of it: what makes objects of them works by reflection. Whatever
// makes one text grow into a larger one is refused (anchors and aliases), as is what could mean another thing than it says (tags,
// a key twice, several documents). The text is bounded, and so is how deep it goes.

using System.Text;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace Polyblk.Host.Declared;

/// <summary>Reads the text of a document.</summary>
internal static class DocumentParser
{
    /// <summary>Longest document in bytes.</summary>
    public const int MostBytes = 1 << 20;

    /// <summary>How deep lists and keys may be in each other; a declaration needs six.</summary>
    public const int MostDepth = 16;

    private static readonly UTF8Encoding s_strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Reads it; null where it is empty.</summary>
    /// <param name="document">What it is called.</param>
    /// <param name="content">UTF-8.</param>
    /// <exception cref="RefusalException">It is none; the message says where and why.</exception>
    public static DeclaredNode? Parse(string document, Stream content)
    {
        var parser = new Parser(new StringReader(Read(document, content)));
        try
        {
            parser.Consume<StreamStart>();
            if (parser.TryConsume<StreamEnd>(out _))
            {
                return null;
            }

            parser.Consume<DocumentStart>();
            DeclaredNode root = Node(document, parser, 0);
            parser.Consume<DocumentEnd>();
            return parser.TryConsume<DocumentStart>(out DocumentStart? second)
                ? throw Refuse(document, second.Start, "a second document begins here, and a file has one.")
                : root is DeclaredText { IsNull: true } ? null : root;
        }
        catch (YamlException e)
        {
            throw Refuse(document, e.Start, $"this is no YAML: {e.Message}");
        }
        catch (Exception e) when (e is InvalidOperationException or ArgumentException or IndexOutOfRangeException)
        {
            // The library's own for some of what is no YAML.
            throw Refuse(document, parser.Current?.End ?? Mark.Empty, "what follows is no YAML.");
        }
    }

    private static string Read(string document, Stream content)
    {
        byte[] bytes = new byte[MostBytes + 1];
        int length = content.ReadAtLeast(bytes, bytes.Length, throwOnEndOfStream: false);
        if (length > MostBytes)
        {
            throw RefusalException.Invalid(
                $"{document} has more than {MostBytes >> 10} KiB, which is no declaration of volumes.");
        }

        try
        {
            string text = s_strict.GetString(bytes, 0, length);
            return text.StartsWith('\uFEFF') ? text[1..] : text;
        }
        catch (DecoderFallbackException)
        {
            throw RefusalException.Invalid($"{document} is no text in UTF-8.");
        }
    }

    private static DeclaredNode Node(string document, Parser parser, int depth)
    {
        ParsingEvent next = parser.Current!;
        if (next is not NodeEvent node)
        {
            throw Refuse(
                document, next.Start, next is AnchorAlias ? "aliases (*) are not taken: write it out."
                    : "a value is expected here.");
        }

        if (!node.Anchor.IsEmpty || !node.Tag.IsEmpty)
        {
            throw Refuse(
                document, node.Start, node.Anchor.IsEmpty ? "tags (!) are not taken."
                    : "anchors (&) are not taken: write it out.");
        }

        if (depth == MostDepth)
        {
            throw Refuse(document, node.Start, $"more than {MostDepth} levels are in each other.");
        }

        Place at = PlaceOf(node.Start);
        if (parser.TryConsume<Scalar>(out Scalar? scalar))
        {
            return new DeclaredText(at, scalar.Value, scalar.Style == ScalarStyle.Plain);
        }

        if (parser.TryConsume<SequenceStart>(out _))
        {
            var items = new List<DeclaredNode>();
            while (!parser.TryConsume<SequenceEnd>(out _))
            {
                items.Add(Node(document, parser, depth + 1));
            }

            return new DeclaredList(at, items);
        }

        parser.Consume<MappingStart>();
        return Map(document, parser, depth, at);
    }

    private static DeclaredMap Map(string document, Parser parser, int depth, Place at)
    {
        var entries = new List<KeyValuePair<DeclaredText, DeclaredNode>>();
        var known = new Dictionary<string, Place>(StringComparer.Ordinal);
        while (!parser.TryConsume<MappingEnd>(out _))
        {
            Mark start = parser.Current!.Start;
            if (Node(document, parser, depth + 1) is not DeclaredText { IsNull: false } key)
            {
                throw Refuse(document, start, "a key is one word.");
            }

            if (!known.TryAdd(key.Text, key.At))
            {
                throw Refuse(document, start, $"'{key.Text}' stands twice: first in line {known[key.Text].Line}.");
            }

            entries.Add(new(key, Node(document, parser, depth + 1)));
        }

        return new DeclaredMap(at, entries);
    }

    private static Place PlaceOf(Mark mark) => new(mark.Line, mark.Column);

    private static RefusalException Refuse(string document, Mark at, string problem) =>
        RefusalException.Invalid($"{document}:{PlaceOf(at)}: {Printable.Line(problem)}");
}
