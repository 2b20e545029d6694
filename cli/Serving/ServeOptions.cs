using Polyblk.Core.Reactors;

namespace Polyblk.Cli.Serving;

/// <summary>What the exports of one serve share.</summary>
/// <param name="Plan">Where the reactors run.</param>
/// <param name="Idle">How long they poll without work.</param>
/// <param name="ForceAssembly">Start an array that lacks a member and was not stopped cleanly.</param>
internal sealed record ServeOptions(ReactorPlan Plan, IdlePolicy Idle, bool ForceAssembly);
