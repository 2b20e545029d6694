// A volume as a VDUSE device: made or taken over, attached, and taken away again.

using Microsoft.Extensions.Logging;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Virtio;

namespace Polyblk.Frontends.Vduse;

/// <summary>An export with its device in the kernel.</summary>
internal sealed class VduseExport : IExport
{
    private const int DestroyAttempts = 100;
    private static readonly TimeSpan s_destroyInterval = TimeSpan.FromMilliseconds(20);

    private readonly ExportSpec _spec;
    private readonly VduseOptions _options;
    private readonly VduseSession _session;
    private readonly bool _isNew;
    private readonly ILogger _log;
    private readonly TimeProvider _clock;
    private bool _stopped;

    private VduseExport(
        ExportSpec spec, VduseOptions options, VduseSession session, bool isNew, string node, ILogger log, TimeProvider clock,
        IReadOnlyList<string> notes)
    {
        _isNew = isNew;
        _spec = spec;
        _options = options;
        _session = session;
        _log = log;
        _clock = clock;
        Notes = notes;
        Endpoint = new ExportEndpoint(
            node.StartsWith("/dev/vd", StringComparison.Ordinal) && !node.StartsWith("/dev/vduse", StringComparison.Ordinal)
                ? EndpointKind.BlockDevice : EndpointKind.CharacterDevice,
            node);
        AttachCommands = AttachCommandList.Make(options, node);
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
            log.LogWarning(
                "{Name}: the kernel keeps its own bounce pages (errno {Errno}): raise the limit of locked memory, or serve without --pin-memory",
                name, errno);
        }
    }

    private static void ReportPinRefused(ILogger log, string name, int errno) =>
        log.LogWarning("{Name}: memory is not registered with io_uring (errno {Errno}), I/O goes the ordinary way", name, errno);

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
        VduseDeviceFile? kernel = null;
        bool isNew = false;
        try
        {
            isNew = VduseDeviceSetup.Make(control, options, virtio, log);
            kernel = isNew
                ? await VduseDeviceSetup.OpenNewAsync(options, state, context.Clock, cancellation).ConfigureAwait(false)
                : await VduseDeviceSetup.TakeOverAsync(options, isKnown, log, context.Clock, cancellation).ConfigureAwait(false);
            PinPermit? pinning = null;
            if (options.PinMemory)
            {
                pinning = new PinPermit(errno => ThreadPool.QueueUserWorkItem(_ => ReportPinRefused(log, options.Name, errno)));
                kernel.OwnBouncePages = errno => ThreadPool.QueueUserWorkItem(_ => ReportBouncePages(log, options.Name, errno));
            }

            session = new VduseSession(
                options.Name, kernel, spec.Device, virtio, state, options.Queues, context.Reactors, log, context.Clock, pinning);
            if (session.Recovered)
            {
                // The volume may have been resized while nobody served it.
                session.ChangeCapacity();
            }

            string node = options.Attachment != VdpaAttachment.None
                ? await VdpaTool.AttachAsync(options.Name, options.Attachment, context.Clock, cancellation).ConfigureAwait(false)
                : VdpaTool.FindNode(options.Name) ?? $"/dev/vduse/{options.Name}";
            return new VduseExport(spec, options, session, isNew, node, log, context.Clock, MakeNotes(session, control, options));
        }
        catch (Exception e)
        {
            await AbandonAsync(options.Name, session, kernel, isNew, state, control, log, context.Clock).ConfigureAwait(false);
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
            Latencies = sum.Latencies,
            InFlight = reactors.Count == 0 ? 0 : sum.InFlight,
            QueueReactors = reactors,
        };
    }

    public Task ResizeAsync(CancellationToken cancellation) => Task.Run(_session.ChangeCapacity, cancellation);

    public Task DrainAsync(CancellationToken cancellation) => _session.DrainAsync(cancellation);

    public Task ResumeAsync(CancellationToken cancellation) => _session.ResumeAsync(cancellation);

    /// <summary>
    /// IfIdle refuses while the device's node is open or mounted. HandOver leaves the device and its attachment: its consumers
    /// wait for the successor. The others take the device off the bus and destroy it.
    /// </summary>
    public async Task StopAsync(StopMode mode, CancellationToken cancellation)
    {
        if (_stopped)
        {
            return;
        }

        if (mode != StopMode.HandOver)
        {
            if (mode == StopMode.IfIdle && VdpaTool.FindNode(_options.Name) is { } node
                && await NodeUsers.FindLastingAsync(node, _clock, cancellation).ConfigureAwait(false) is { } user)
            {
                throw new FrontendException($"{node} is in use: {user}. Unmount it or end that process first, or stop with force.");
            }

            await VdpaTool.DetachAsync(_options.Name).ConfigureAwait(false);
        }

        _stopped = true;
        await _session.DisposeAsync().ConfigureAwait(false);
        if (mode != StopMode.HandOver)
        {
            using VduseControl control = VduseControl.Open();
            int rc = await DestroyAsync(control, _options.Name, _clock).ConfigureAwait(false);
            if (rc < 0 && rc != -Errno.EINVAL)
            {
                throw new FrontendException(
                    $"The device {_options.Name} was left behind (errno {-rc}): run 'vdpa dev del {_options.Name}' and serve it once more to clean up.");
            }
        }
    }

    /// <summary>
    /// Ends like a daemon that is restarted: a consumer waits instead of failing. A device that this export made and that nobody
    /// uses is taken away: after a start that failed at another frontend, nobody else would.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        if (_isNew && !_stopped)
        {
            try
            {
                await StopAsync(StopMode.IfIdle, CancellationToken.None).ConfigureAwait(false);
            }
            catch (FrontendException e)
            {
                _log.LogWarning("{Reason} It is left to the next process that serves the volume.", e.Message);
            }
        }

        await StopAsync(StopMode.HandOver, CancellationToken.None).ConfigureAwait(false);
    }

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

    /// <summary>Takes back a start that failed. A device that was there before stays for the next attempt.</summary>
    private static async Task AbandonAsync(
        string name, VduseSession? session, VduseDeviceFile? kernel, bool isNew, VduseStateFile state, VduseControl control, ILogger log,
        TimeProvider clock)
    {
        if (session is null)
        {
            kernel?.Dispose();
            state.Dispose();
        }
        else
        {
            if (isNew)
            {
                await DetachAgainAsync(name, log).ConfigureAwait(false);
            }

            await session.DisposeAsync().ConfigureAwait(false);
        }

        if (isNew && await DestroyAsync(control, name, clock).ConfigureAwait(false) is < 0 and int rc)
        {
            log.LogWarning("{Name} was left behind after a start that failed (errno {Errno}): remove it with 'vdpa dev del', and serve it once more", name, -rc);
        }
    }

    /// <summary>
    /// Destroys a device that was closed. For a moment the kernel may still count it as open: a child that is being started has a
    /// copy of every descriptor until it runs its program.
    /// </summary>
    private static async Task<int> DestroyAsync(VduseControl control, string name, TimeProvider clock)
    {
        int rc = control.Destroy(name);
        for (int attempt = 0; rc == -Errno.EBUSY && attempt < DestroyAttempts; attempt++)
        {
            await Task.Delay(s_destroyInterval, clock).ConfigureAwait(false);
            rc = control.Destroy(name);
        }

        return rc;
    }

    /// <summary>
    /// While the session answers: the driver resets the device on its way. Nobody was told of it, so nobody is asked who uses it.
    /// </summary>
    private static async Task DetachAgainAsync(string name, ILogger log)
    {
        try
        {
            await VdpaTool.DetachAsync(name).ConfigureAwait(false);
        }
        catch (FrontendException e)
        {
            log.LogWarning("{Name} stays on the bus after a start that failed: {Reason}", name, e.Message);
        }
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
}
