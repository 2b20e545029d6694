namespace Polyblk.Frontends.VirtioIothread;

/// <summary>
/// A volume for QEMU's own virtio-blk: an export of another frontend that QEMU opens (the carrier), with the arguments for QEMU.
/// Everything but the attach commands is the carrier's.
/// </summary>
internal sealed class VirtioIothreadExport(ExportSpec spec, IExport carrier, IothreadPlan plan, IReadOnlyList<string> notes) : IExport
{
    public string Id => spec.Id;

    public string Frontend => VirtioIothreadFrontend.FrontendName;

    public ExportEndpoint Endpoint => carrier.Endpoint;

    public IReadOnlyList<AttachCommand> AttachCommands { get; } = BuildCommands(spec, carrier.Endpoint, plan);

    public IReadOnlyList<string> Notes { get; } = [.. notes, .. carrier.Notes];

    public Task Completion => carrier.Completion;

    public ExportStatistics GetStatistics() => carrier.GetStatistics();

    public Task ResizeAsync(CancellationToken cancellation) => carrier.ResizeAsync(cancellation);

    public Task DrainAsync(CancellationToken cancellation) => carrier.DrainAsync(cancellation);

    public Task ResumeAsync(CancellationToken cancellation) => carrier.ResumeAsync(cancellation);

    public Task StopAsync(StopMode mode, CancellationToken cancellation) => carrier.StopAsync(mode, cancellation);

    public ValueTask DisposeAsync() => carrier.DisposeAsync();

    private static List<AttachCommand> BuildCommands(ExportSpec spec, ExportEndpoint endpoint, IothreadPlan plan)
    {
        IReadOnlyList<string> qemu = QemuArguments.Build(spec, endpoint, plan);
        var commands = new List<AttachCommand>
        {
            new("qemu", $"Add to QEMU's arguments, with -smp {plan.Vcpus}: {plan.Queues} queues on {plan.Iothreads} iothreads.",
                string.Join(' ', qemu.Select(QemuArguments.Quote)), qemu),
            new("libvirt", $"Elements of the domain{(LibvirtXml.IsForAll(endpoint, plan) ? string.Empty : $" (libvirt {(plan.Iothreads > 1 ? "10.0" : "9.5")} and later)")}.", LibvirtXml.Build(spec, endpoint, plan), []),
        };
        if (!LibvirtXml.IsForAll(endpoint, plan))
        {
            string lacks = endpoint.Kind == EndpointKind.BlockDevice ? "one iothread"
                : "one iothread, and its disk fails when the target restarts, where a vhost-user disk waits";
            commands.Add(new AttachCommand("libvirt", $"The same for an older libvirt, such as that of Debian 12 ({lacks}).", LibvirtXml.BuildForOld(spec, endpoint, plan), []));
        }

        if (plan.Cpus.Count != 0)
        {
            commands.Add(new AttachCommand("shell", "Pin the iothreads of a running QEMU that was started with -name NAME,debug-threads=on.", PinScript(plan), []));
        }

        return commands;
    }

    /// <summary>QEMU names an iothread's thread "IO NAME" when debug-threads is on (util/qemu-thread and iothread.c).</summary>
    private static string PinScript(IothreadPlan plan)
    {
        IEnumerable<string> lines = Enumerable.Range(0, plan.Iothreads).Select(i =>
            $"taskset -cp {plan.CpuOf(i)} $(grep -lx 'IO {IothreadPlan.NameOf(i)}' /proc/$QEMU_PID/task/*/comm | cut -d/ -f5)");
        return string.Join('\n', lines);
    }
}
