package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/outrigger-mesh/outrigger/proto/decode"
	configv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/config/v1"
	pilotv1 "github.com/outrigger-mesh/outrigger/proto/gen/go/outrigger/pilot/v1"
)

// allKinds is the word for every kind.
const allKinds = "all"

// getting is what `outrigger get` was asked for.
type getting struct {
	connection
	namespace string
	all       bool
	format    string
}

func newGet(s streams) *cobra.Command {
	g := &getting{}
	command := &cobra.Command{
		Use:   "get KIND[,KIND...] [NAME...]",
		Short: "Show objects",
		Long: "Shows objects of one kind or several, or of all kinds with the word all. Kinds are written in any case,\n" +
			"singular or plural, ours or Istio's: RouteRule, routerules, denier. What -o yaml and -o json print can be applied. In JSON\n" +
			"one object that is named is a document of its own, anything else one List with its items.",
		Example:           "  outrigger get routerules\n  outrigger get routerule reviews-v3 -o yaml\n  outrigger get all -A",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeNames(&g.connection, &g.namespace, allKinds),
		PreRunE: func(*cobra.Command, []string) error {
			return oneOf("output", g.format, "table", "yaml", "json", "name")
		},
		RunE: func(command *cobra.Command, args []string) error {
			return answered(s, g.format, g.run(command.Context(), s, args))
		},
	}
	flags := command.Flags()
	flags.StringVarP(&g.namespace, "namespace", "n", decode.DefaultNamespace, "namespace")
	flags.BoolVarP(&g.all, "all-namespaces", "A", false, "objects of all namespaces")
	outputFlag(command, &g.format, "table", "yaml", "json", "name")
	g.connection.flags(command)
	return command
}

func (g *getting) run(ctx context.Context, s streams, args []string) error {
	kinds, err := kindsIn(args[0])
	if err != nil {
		return err
	}
	if len(args) > 1 && (g.all || len(kinds) != 1 || kinds[0] == "") {
		return &Exit{Code: exitUsage, Err: errors.New("names go with one kind and one namespace")}
	}
	return g.with(ctx, s, func(ctx context.Context, conn *grpc.ClientConn) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		slow := patience(s, "waiting for pilot")
		defer slow.done()
		client := pilotv1.NewConfigServiceClient(conn)
		var objects []*configv1.Object
		if len(args) > 1 {
			objects, err = g.named(ctx, client, kinds[0], args[1:])
		} else {
			objects, err = g.list(ctx, client, kinds)
		}
		if err != nil {
			return err
		}
		slow.done()
		if len(objects) == 0 {
			fmt.Fprintln(s.err, g.none(args[0]))
		}
		return printObjects(s.out, objects, g.format, g.all, len(args) == 2)
	})
}

// none says that there is nothing.
func (g *getting) none(word string) string {
	what := word
	if word == allKinds {
		what = "objects"
	}
	if g.all {
		return "no " + what + " in any namespace"
	}
	return fmt.Sprintf("no %s in the namespace %q", what, g.namespace)
}

// kindsIn reads the first argument; "" stands for all kinds.
func kindsIn(arg string) ([]string, error) {
	if arg == allKinds {
		return []string{""}, nil
	}
	out := strings.Split(arg, ",")
	for _, word := range out {
		if _, _, ok := decode.Kind(word); !ok {
			return nil, unknownKind(word)
		}
	}
	return out, nil
}

func unknownKind(word string) error {
	return &Exit{Code: exitUsage, Err: fmt.Errorf("unknown kind %q; there are %s, and %s for all of them",
		word, strings.Join(decode.Kinds(), ", "), allKinds)}
}

func (g *getting) named(ctx context.Context, client pilotv1.ConfigServiceClient, kind string, names []string) ([]*configv1.Object, error) {
	var out []*configv1.Object
	seen := map[string]bool{}
	for _, name := range names {
		r, err := client.Get(ctx, &pilotv1.GetRequest{Kind: kind, Namespace: g.namespace, Name: name})
		if err != nil {
			return nil, err
		}
		if name := objectName(r.GetObject()); !seen[name] {
			seen[name] = true
			out = append(out, r.GetObject())
		}
	}
	return out, nil
}

func (g *getting) list(ctx context.Context, client pilotv1.ConfigServiceClient, kinds []string) ([]*configv1.Object, error) {
	namespace := g.namespace
	if g.all {
		namespace = ""
	}
	var out []*configv1.Object
	seen := map[string]bool{}
	for _, kind := range kinds {
		r, err := client.List(ctx, &pilotv1.ListRequest{Kind: kind, Namespace: namespace})
		if err != nil {
			return nil, err
		}
		for _, o := range r.GetObjects() {
			if name := objectName(o); !seen[name] {
				seen[name] = true
				out = append(out, o)
			}
		}
	}
	return out, nil
}

// objectName is the form that get -o name prints and that delete takes.
func objectName(o *configv1.Object) string {
	return o.GetKind() + "/" + o.GetMetadata().GetNamespace() + "/" + o.GetMetadata().GetName()
}

// refsIn reads KIND NAME... or KIND/[NAMESPACE/]NAME....
func refsIn(args []string, namespace string) ([]*configv1.ObjectRef, error) {
	var out []*configv1.ObjectRef
	if len(args) == 0 {
		return nil, nil
	}
	paths := strings.Contains(args[0], "/")
	if !paths && len(args) < 2 {
		return nil, &Exit{Code: exitUsage, Err: errors.New("want KIND NAME, or KIND/NAME")}
	}
	kind := ""
	if !paths {
		kind, args = args[0], args[1:]
	}
	for _, a := range args {
		ref := &configv1.ObjectRef{Kind: kind, Namespace: namespace, Name: a}
		if parts := strings.Split(a, "/"); paths {
			switch len(parts) {
			case 2:
				ref.Kind, ref.Name = parts[0], parts[1]
			case 3:
				ref.Kind, ref.Namespace, ref.Name = parts[0], parts[1], parts[2]
			default:
				return nil, &Exit{Code: exitUsage, Err: fmt.Errorf("%q: want KIND/NAME or KIND/NAMESPACE/NAME", a)}
			}
		}
		known, suffix, ok := decode.Kind(ref.GetKind())
		if !ok {
			return nil, unknownKind(ref.GetKind())
		}
		ref.Kind = known
		if !strings.HasSuffix(ref.GetName(), suffix) {
			ref.Name += suffix
		}
		out = append(out, ref)
	}
	return out, nil
}
