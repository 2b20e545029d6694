using Polyblk.Cli.Volumes;
using Polyblk.Core.Reactors;

namespace Polyblk.Cli.Serving;

/// <summary>What the exports of one serve share.</summary>
/// <param name="Plan">Where the reactors run.</param>
/// <param name="Idle">How long they poll without work.</param>
/// <param name="Start">How the volume is opened.</param>
internal sealed record ServeOptions(ReactorPlan Plan, IdlePolicy Idle, VolumeStart Start);
