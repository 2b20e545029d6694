// A volume as a VDUSE device: made or taken over, attached, and taken away again.

using Microsoft.Extensions.Logging;
using Polyblk.Core.Block;
using Polyblk.Core.Frontend;
using Polyblk.Core.Virtio;

namespace Polyblk.Frontends.Vduse;

/// <summary>An export with its device in the kernel.</summary>
internal sealed class VduseExport : IExport
{
    private readonly ExportSpec _spec;
    private readonly VduseOptions _options;
    private readonly VduseSession _session;
    private readonly ILogger _log;
    private bool _stopped;

    private VduseExport(ExportSpec spec, VduseOptions options, VduseSession session, string node, ILogger log, IReadOnlyList<string> notes)
    {
        _spec = spec;
        _options = options;
        _session = session;
        _log = log;
        Notes = notes;
        Endpoint = new ExportEndpoint(
            node.StartsWith("/dev/vd", StringComparison.Ordinal) && !node.StartsWith("/dev/vduse", StringComparison.Ordinal)
                ? EndpointKind.BlockDevice : EndpointKind.CharacterDevice,
            node);
        AttachCommands = AttachCommandList.Make(options, node);
        spec.Device.Resized += OnResized;
    }

    public string Id => _spec.Id;

    public string Frontend => VduseFrontend.FrontendName;

    public ExportEndpoint Endpoint { get; }

    public IReadOnlyList<AttachCommand> AttachCommands { get; }

    public IReadOnlyList<string> Notes { get; }

    public Task Completion => _session.Ended;

    private static void ReportBouncePages(ILogger log, string name, int errno)
    {
        if (errno == 0)
        {
            log.LogInformation("{Name}: the bounce pages are memory of this process", name);
        }
        else
        {
            log.LogWarning("{Name}: the kernel keeps its own bounce pages (errno {Errno}): raise the limit of locked memory, or serve without --pin-memory", name, errno);
        }
    }

    /// <summary>Makes the device or takes it over, and attaches it when asked.</summary>
    /// <exception cref="FrontendException">It does not work; the message says what to do.</exception>
    public static async Task<VduseExport> CreateAsync(ExportSpec spec, ExportContext context, CancellationToken cancellation)
    {
        VduseOptions options = VduseOptions.From(spec, context.Reactors.Reactors.Count);
        ILogger log = context.Logging.CreateLogger("vduse");
        VirtioBlkDevice virtio = Describe(spec, options);
        using VduseControl control = VduseControl.Open();
        VduseStateFile state = OpenState(context.StateDirectory, options, new VduseShape(options.Queues, options.QueueSize, virtio.OfferedFeatures, spec.VolumeUuid), out bool isKnown);
        VduseSession? session = null;
        try
        {
            VduseDeviceFile kernel = VduseDeviceSetup.MakeOrTakeOver(control, options, virtio, state, isKnown, log);
            if (options.PinMemory)
            {
                kernel.OwnBouncePages = errno => ThreadPool.QueueUserWorkItem(_ => ReportBouncePages(log, options.Name, errno));
            }

            session = new VduseSession(options.Name, kernel, spec.Device, virtio, state, options.Queues, context.Reactors, log, options.PinMemory);
            if (session.Recovered)
            {
                // The volume may have been resized while nobody served it.
                session.ChangeCapacity();
            }

            string node = options.Attachment != VdpaAttachment.None
                ? await VdpaTool.AttachAsync(options.Name, options.Attachment, cancellation).ConfigureAwait(false)
                : VdpaTool.FindNode(options.Name) ?? $"/dev/vduse/{options.Name}";
            return new VduseExport(spec, options, session, node, log, MakeNotes(session, control, options));
        }
        catch (Exception e)
        {
            await AbandonAsync(options.Name, session, state, control).ConfigureAwait(false);
            if (e is IOException or UnauthorizedAccessException)
            {
                throw new FrontendException(e.Message, e);
            }

            throw;
        }
    }

    public ExportStatistics GetStatistics()
    {
        (IReadOnlyList<VirtioBlkQueueStatistics> queues, IReadOnlyList<string> reactors) = _session.GetStatistics();
        VirtioBlkQueueStatistics sum = queues.Aggregate(new VirtioBlkQueueStatistics(), (a, b) => a.Plus(b));
        return new ExportStatistics
        {
            Sessions = _session.IsRunning ? 1 : 0,
            Reads = sum.Reads,
            ReadBytes = sum.ReadBytes,
            Writes = sum.Writes,
            WriteBytes = sum.WriteBytes,
            Flushes = sum.Flushes,
            Discards = sum.Discards,
            Errors = sum.Errors,
            Notifications = sum.Notifications,
            InFlight = reactors.Count == 0 ? 0 : sum.InFlight,
            QueueReactors = reactors,
        };
    }

    public Task ResizeAsync(CancellationToken cancellation) => Task.Run(_session.ChangeCapacity, cancellation);

    public Task DrainAsync(CancellationToken cancellation) => _session.DrainAsync(cancellation);

    public Task ResumeAsync(CancellationToken cancellation) => _session.ResumeAsync(cancellation);

    /// <summary>
    /// IfIdle refuses while the device's node is open or mounted. HandOver leaves the device and its attachment: its consumers wait for the
    /// successor. The others take the device off the bus and destroy it.
    /// </summary>
    public async Task StopAsync(StopMode mode, CancellationToken cancellation)
    {
        if (_stopped)
        {
            return;
        }

        if (mode != StopMode.HandOver)
        {
            string? node = VdpaTool.FindNode(_options.Name);
            if (mode == StopMode.IfIdle && node is not null && NodeUsers.Find(node) is { } user)
            {
                throw new FrontendException($"{node} is in use: {user}. Unmount it or end that process first, or stop with force.");
            }

            await VdpaTool.DetachAsync(_options.Name, cancellation).ConfigureAwait(false);
        }

        _stopped = true;
        _spec.Device.Resized -= OnResized;
        await _session.DisposeAsync().ConfigureAwait(false);
        if (mode != StopMode.HandOver)
        {
            using VduseControl control = VduseControl.Open();
            int rc = control.Destroy(_options.Name);
            if (rc < 0 && rc != -Errno.EINVAL)
            {
                throw new FrontendException(
                    $"The device {_options.Name} was left behind (errno {-rc}): run 'vdpa dev del {_options.Name}' and serve it once more to clean up.");
            }
        }
    }

    /// <summary>Ends like a daemon that is restarted: a consumer waits instead of failing.</summary>
    public async ValueTask DisposeAsync() => await StopAsync(StopMode.HandOver, CancellationToken.None).ConfigureAwait(false);

    private static VirtioBlkDevice Describe(ExportSpec spec, VduseOptions options)
    {
        try
        {
            return new VirtioBlkDevice(spec.Device, new VirtioBlkDeviceOptions
            {
                Serial = spec.Serial,
                ReadOnly = spec.ReadOnly,
                Queues = options.Queues,
                QueueSize = options.QueueSize,
                OfferConfigWce = false,
                OfferPacked = options.Packed,
                OfferAccessPlatform = true,
            });
        }
        catch (ArgumentException e)
        {
            throw new FrontendException(e.Message, e);
        }
    }

    private static VduseStateFile OpenState(string directory, VduseOptions options, VduseShape shape, out bool isKnown)
    {
        string path = Path.Combine(directory, $"vduse-{options.Name}.state");
        try
        {
            return VduseStateFile.Open(path, shape, out isKnown);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new FrontendException($"{path} cannot be used: {e.Message} (is the volume served by another process?)", e);
        }
    }

    private static async Task AbandonAsync(string name, VduseSession? session, VduseStateFile state, VduseControl control)
    {
        if (session is null)
        {
            state.Dispose();
            return;
        }

        await session.DisposeAsync().ConfigureAwait(false);

        // Refused while it is attached: then it was there before, and stays for the next attempt.
        _ = control.Destroy(name);
    }

    private static List<string> MakeNotes(VduseSession session, VduseControl control, VduseOptions options)
    {
        var notes = new List<string>
        {
            options.Attachment == VdpaAttachment.Vhost
                ? "vhost_vdpa maps the guest's memory: no bounce copy." : "virtio_vdpa copies data through bounce pages in the kernel.",
            $"VDUSE API version {control.ApiVersion}.",
        };
        if (session.Recovered)
        {
            notes.Add($"Taken over from a process that ended: {session.RecoveredRequests} requests in flight were done again.");
        }

        return notes;
    }

    private void OnResized(IBlockDevice device)
    {
        try
        {
            _session.ChangeCapacity();
        }
        catch (IOException e)
        {
            _log.LogWarning("{Id}: the new size could not be told: {Reason}", Id, e.Message);
        }
    }
}
