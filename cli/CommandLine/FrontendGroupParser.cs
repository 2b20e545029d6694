// Options after a --frontend belong to it.
//
// The library checks the command line as a whole (it knows every option of every frontend, for the help and for typing errors);
// this walks over the tokens in their order and deals the options out to the frontends. With a single --frontend its options may
// stand before it too.

using System.CommandLine.Parsing;
using Polyblk.Frontends;
using Polyblk.Host;
using Polyblk.Host.Daemon;
using Polyblk.Host.Serving;

namespace Polyblk.Cli.CommandLine;

/// <summary>Turns the tokens of <c>polyblk serve</c> into groups.</summary>
internal sealed class FrontendGroupParser
{
    public const string FrontendOptionName = "--frontend";
    public const int MaxQueues = ExportCheck.MaxQueues;
    public const int MaxQueueSize = ExportCheck.MaxQueueSize;
    public const int MaxSerialBytes = ExportCheck.MaxSerialBytes;

    /// <summary>The options that every frontend understands.</summary>
    public static IReadOnlyList<FrontendOption> Common { get; } =
    [
        new("socket", "PATH", "Unix socket of this frontend. [default: in the runtime directory]", []),
        new("socket-group", "GROUP", "Give the socket to a group, by name or number, and let it into the socket's folder: libvirt-qemu (Debian) or qemu (Fedora) for libvirt.", []),
        new("socket-mode", "MODE", "Mode of the socket in octal: whoever may write may connect. [default: 660]", []),
        new("allow-user", "USER[,USER]",
            "Serve these users only, by name or number, whoever else reaches the socket. [default: whoever reaches it]", []),
        new("queues", "N", "Queues, 1 to 256. [default: the frontend chooses]", []),
        new("queue-size", "N", "Entries of a queue, a power of two up to 32768. [default: the frontend chooses]", []),
        new("read-only", null, "Refuse writes.", []),
        new("serial", "TEXT", "Serial number that the consumer sees, up to 20 ASCII characters. [default: from the volume's UUID]", []),
    ];

    private readonly Dictionary<string, IFrontend> _frontends;
    private readonly Dictionary<string, bool> _takesValue = new(StringComparer.Ordinal);

    /// <exception cref="InvalidOperationException">Two frontends use one option name in different ways.</exception>
    public FrontendGroupParser(IEnumerable<IFrontend> frontends)
    {
        _frontends = frontends.ToDictionary(f => f.Name, StringComparer.Ordinal);
        foreach (FrontendOption option in Common.Concat(_frontends.Values.SelectMany(f => f.Options)))
        {
            bool takesValue = option.ValueHint is not null;
            if (_takesValue.TryGetValue("--" + option.Name, out bool other) && other != takesValue)
            {
                throw new InvalidOperationException($"--{option.Name} is a switch for one frontend and takes a value for another.");
            }

            _takesValue["--" + option.Name] = takesValue;
        }
    }

    /// <summary>Deals the options out.</summary>
    /// <param name="tokens">The command line's tokens in their order.</param>
    /// <exception cref="RefusalException">A value is wrong, or an option is not one of its frontend's.</exception>
    public IReadOnlyList<FrontendGroup> Parse(IReadOnlyList<Token> tokens)
    {
        var groups = new List<Builder>();
        var early = new List<(string Name, string Value)>();
        for (int i = 0; i < tokens.Count; i++)
        {
            Token token = tokens[i];
            if (token.Type != TokenType.Option)
            {
                continue;
            }

            if (token.Value == FrontendOptionName)
            {
                groups.Add(new Builder(Find(tokens[++i].Value)));
            }
            else if (_takesValue.TryGetValue(token.Value, out bool takesValue))
            {
                string value = takesValue ? tokens[++i].Value : "true";
                if (groups.Count == 0)
                {
                    early.Add((token.Value, value));
                }
                else
                {
                    groups[^1].Add(token.Value, value);
                }
            }
        }

        if (groups.Count == 0)
        {
            throw RefusalException.Invalid($"Say how to serve the volume: --frontend followed by {OneOf(_frontends.Keys)}. 'polyblk probe' tells what this host can do.");
        }

        if (early.Count > 0 && groups.Count > 1)
        {
            throw RefusalException.Invalid($"{early[0].Name} belongs to a frontend: write it after the --frontend that it is for.");
        }

        early.ForEach(e => groups[0].Add(e.Name, e.Value));
        FrontendGroup[] built = [.. groups.Select(g => g.Build())];
        CheckSockets([.. built.Select(g => g.SocketPath).OfType<string>()]);
        return built;
    }

    /// <summary>Two on one path would find each other there, and call themselves another process.</summary>
    private static void CheckSockets(string[] paths)
    {
        if (paths.FirstOrDefault(p => p.Any(char.IsControl)) is string odd)
        {
            throw RefusalException.Invalid($"--socket {odd} has control characters: choose another path.");
        }

        if (paths.GroupBy(p => p).FirstOrDefault(same => same.Count() > 1)?.Key is string shared)
        {
            throw RefusalException.Invalid($"--socket {shared} is given for several frontends: each needs a socket of its own.");
        }
    }

    private IFrontend Find(string name)
    {
        if (_frontends.TryGetValue(name, out IFrontend? frontend))
        {
            return frontend;
        }

        string hint = Suggestion.Nearest(name, _frontends.Keys) is string near ? $" Did you mean '{near}'?" : string.Empty;
        throw RefusalException.Invalid($"There is no frontend '{name}'.{hint} There are: {string.Join(", ", _frontends.Keys)}.");
    }

    private static string OneOf(IEnumerable<string> names) => string.Join(" or ", names);

    private sealed class Builder(IFrontend frontend)
    {
        private static readonly string[] s_ofSockets = ["socket", "socket-group", "socket-mode", "allow-user"];
        private readonly Dictionary<string, string> _values = new(StringComparer.Ordinal);

        public void Add(string option, string value)
        {
            string name = option[2..];
            if (!_values.TryAdd(name, value))
            {
                throw RefusalException.Invalid($"{option} is given twice for --frontend {frontend.Name}.");
            }
        }

        public FrontendGroup Build()
        {
            SocketAccess.RequireSocket(frontend, s_ofSockets.Any(_values.ContainsKey));
            return Make();
        }

        private FrontendGroup Make() => new()
        {
            Frontend = frontend.Name,
            SocketPath = Take("socket") is string path ? Path.GetFullPath(path) : null,
            SocketAccess = SocketAccess.Parse(Take("socket-group"), Take("socket-mode"), Take("allow-user")?.Split(',')),
            Queues = TakeNumber("queues", 1, MaxQueues),
            QueueSize = TakePowerOfTwo("queue-size", MaxQueueSize),
            ReadOnly = Take("read-only") is not null,
            Serial = TakeSerial(),
            Options = TakeOwn(),
        };

        private string? Take(string name) => _values.Remove(name, out string? value) ? value : null;

        private int? TakeNumber(string name, int minimum, int maximum)
        {
            string? text = Take(name);
            if (text is null)
            {
                return null;
            }

            return int.TryParse(text, out int value) && value >= minimum && value <= maximum
                ? value
                : throw RefusalException.Invalid($"--{name} takes a number from {minimum} to {maximum}, not '{text}'.");
        }

        private int? TakePowerOfTwo(string name, int maximum)
        {
            int? value = TakeNumber(name, 1, maximum);
            return value is null || int.IsPow2(value.Value)
                ? value
                : throw RefusalException.Invalid($"--{name} takes a power of two, such as 128 or 256, not {value}.");
        }

        private string? TakeSerial()
        {
            string? serial = Take("serial");
            return serial is null || (serial.Length is > 0 and <= MaxSerialBytes && serial.All(c => c is > ' ' and < (char)127))
                ? serial
                : throw RefusalException.Invalid($"--serial takes 1 to {MaxSerialBytes} printable ASCII characters without spaces, not '{serial}'.");
        }

        private Dictionary<string, string> TakeOwn()
        {
            foreach ((string name, string value) in _values)
            {
                FrontendOption option = frontend.Options.FirstOrDefault(o => o.Name == name)
                    ?? throw RefusalException.Invalid($"--{name} is no option of the frontend {frontend.Name}. 'polyblk serve --help' says which ones have it.");
                if (option.Choices.Count > 0 && !option.Choices.Contains(value))
                {
                    throw RefusalException.Invalid($"--{name} takes {string.Join(", ", option.Choices)}, not '{value}'.");
                }
            }

            return _values;
        }
    }
}
