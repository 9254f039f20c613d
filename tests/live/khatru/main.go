// A relay built on khatru, in memory, with the limits on that its authors and many operators use: PORT LONGEST-MESSAGE.
package main

import (
	"log"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/fiatjaf/eventstore/slicestore"
	"github.com/fiatjaf/khatru"
	"github.com/fiatjaf/khatru/policies"
	"github.com/nbd-wtf/go-nostr/nip11"
)

func main() {
	longest, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	relay := khatru.NewRelay()
	relay.MaxMessageSize = int64(longest)
	relay.Info.Name = "vend live tests"
	relay.Info.Limitation = &nip11.RelayLimitationDocument{MaxMessageLength: longest}

	store := slicestore.SliceStore{MaxLimit: 500}
	if err := store.Init(); err != nil {
		log.Fatal(err)
	}
	relay.StoreEvent = append(relay.StoreEvent, store.SaveEvent)
	relay.QueryEvents = append(relay.QueryEvents, store.QueryEvents)
	relay.DeleteEvent = append(relay.DeleteEvent, store.DeleteEvent)
	relay.ReplaceEvent = append(relay.ReplaceEvent, store.ReplaceEvent)

	// All of policies.ApplySaneDefaults, at rates that a shop and its buyers on one address can live with.
	relay.RejectEvent = append(relay.RejectEvent,
		policies.RejectEventsWithBase64Media,
		policies.PreventTooManyIndexableTags(20, nil, nil),
		policies.PreventTimestampsInThePast(time.Hour),
		policies.PreventTimestampsInTheFuture(15*time.Minute),
		policies.EventIPRateLimiter(100, time.Second, 1000),
	)
	relay.RejectFilter = append(relay.RejectFilter,
		policies.NoComplexFilters,
		policies.FilterIPRateLimiter(100, time.Second, 1000),
	)
	relay.RejectConnection = append(relay.RejectConnection,
		policies.ConnectionRateLimiter(10, time.Second, 1000),
	)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], relay))
}
